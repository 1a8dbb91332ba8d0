/* `hutch-share lock`: a program has locks on files. */
#define _GNU_SOURCE 1
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { STEP_MS = 4 };

bool lock_within(int fd, int how, unsigned limit_ms) {
  for (unsigned ms = 0; flock(fd, how | LOCK_NB) < 0; ms += STEP_MS) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK || ms >= limit_ms) return false;
    usleep(STEP_MS * 1000);
  }
  return true;
}

enum { DISK_MS = 2000 };

static void lock_disk(int how, const char *path) {
  int fd = open(path, O_RDONLY); /* inherited */
  if (fd < 0) fail("Cannot open disk %s: %s", path, strerror(errno));
  if (lock_within(fd, how, DISK_MS)) return;
  if (errno == EWOULDBLOCK) fail("Cannot use disk %s: another box has it, or this one has it twice", path);
  fail("Cannot lock disk %s: %s", path, strerror(errno));
}

_Noreturn void lock_disks(char **arguments) {
  for (; *arguments != NULL && strcmp(*arguments, "--") != 0; arguments += 2) {
    bool shared = strcmp(arguments[0], "sh") == 0;
    if (!shared && strcmp(arguments[0], "ex") != 0) fail("Cannot lock disks: \"%s\" is neither ex nor sh", arguments[0]);
    if (arguments[1] == NULL) fail("Cannot lock disks: an argument is missing");
    lock_disk(shared ? LOCK_SH : LOCK_EX, arguments[1]);
  }
  become(*arguments == NULL ? arguments : arguments + 1);
}
