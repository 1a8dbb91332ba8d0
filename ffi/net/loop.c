#define _GNU_SOURCE 1
#include "loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct watch *watches;

uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void loop_add(struct watch *watch) {
  watch->next = watches;
  watches = watch;
}

void loop_drop(struct watch *watch) {
  if (watch->fd < 0) return;
  close(watch->fd);
  watch->fd = -1;
}

static void sweep(void) {
  struct watch **at = &watches;
  while (*at != NULL) {
    struct watch *watch = *at;
    if (watch->fd >= 0) {
      at = &watch->next;
      continue;
    }
    *at = watch->next;
    if (watch->gone != NULL) watch->gone(watch);
  }
}

void loop_turn(struct pollfd *extra, unsigned count, int timeout_ms) {
  static struct pollfd *fds;
  static struct watch **whose;
  static unsigned room;
  sweep();
  unsigned own = 0;
  for (struct watch *watch = watches; watch != NULL; watch = watch->next) own++;
  if (own + count > room) {
    room = (own + count) * 2 + 64;
    fds = realloc(fds, room * sizeof *fds);
    whose = realloc(whose, room * sizeof *whose);
    if (fds == NULL || whose == NULL) {
      fputs("hutch-net: no memory\n", stderr);
      exit(1);
    }
  }
  own = 0;
  for (struct watch *watch = watches; watch != NULL; watch = watch->next, own++) {
    fds[own] = (struct pollfd){.fd = watch->fd, .events = watch->events};
    whose[own] = watch;
  }
  if (count > 0) memcpy(fds + own, extra, count * sizeof *extra);
  if (poll(fds, own + count, timeout_ms) < 0) {
    for (unsigned i = 0; i < own + count; i++) fds[i].revents = 0;
  }
  if (count > 0) memcpy(extra, fds + own, count * sizeof *extra);
  for (unsigned i = 0; i < own; i++) {
    if (fds[i].revents != 0 && whose[i]->fd == fds[i].fd && whose[i]->events != 0) whose[i]->ready(whose[i], fds[i].revents);
    /* Somebody who wants nothing now still wants to know of the end. */
    else if (fds[i].revents & (POLLHUP | POLLERR) && whose[i]->fd == fds[i].fd) whose[i]->ready(whose[i], fds[i].revents);
  }
}
