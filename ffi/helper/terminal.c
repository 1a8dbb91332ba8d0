/* The user's terminal, made raw. See helper.h. */
#define _GNU_SOURCE 1
#include "helper.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* A process in the background would be stopped by it, and stay so at its end. */
static int set(int fd, const struct termios *settings)
{
  sigset_t out, before;
  sigemptyset(&out);
  sigaddset(&out, SIGTTOU);
  pthread_sigmask(SIG_BLOCK, &out, &before);
  int result = tcsetattr(fd, TCSADRAIN, settings) < 0 ? -errno : 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return result;
}

int hutch_terminal_raw(int fd, uint8_t *saved, size_t size)
{
  struct termios settings;
  if (size < sizeof settings) return -EINVAL;
  if (tcgetattr(fd, &settings) < 0) return -errno;
  if (tcgetpgrp(fd) != getpgrp()) return -EAGAIN;
  memcpy(saved, &settings, sizeof settings);
  cfmakeraw(&settings);
  return set(fd, &settings);
}

int hutch_terminal_restore(int fd, const uint8_t *saved)
{
  struct termios settings;
  memcpy(&settings, saved, sizeof settings);
  return set(fd, &settings);
}
