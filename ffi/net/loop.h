/* What is waited for, beside the stack's own sockets. */
#ifndef HUTCH_NET_LOOP_H
#define HUTCH_NET_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

struct watch {
  int fd; /* -1: gone; the loop then calls `gone`, once nothing uses the watch any more */
  short events;
  void (*ready)(struct watch *watch, short events);
  void (*gone)(struct watch *watch); /* may be NULL */
  struct watch *next;
};

/* Where a member's owner begins. */
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - __builtin_offsetof(type, member)))

uint64_t now_ms(void);

void loop_add(struct watch *watch);

/* Closes it. */
void loop_drop(struct watch *watch);

/* Waits for at most `timeout_ms` (-1: without limit), for the `count` of `extra` as well, whose
 * revents it sets. */
void loop_turn(struct pollfd *extra, unsigned count, int timeout_ms);

#endif
