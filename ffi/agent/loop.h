/* One epoll instance. A watch is embedded in what it belongs to; its handler gets the watch back. */
#ifndef HUTCH_AGENT_LOOP_H
#define HUTCH_AGENT_LOOP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#define LOOP_BATCH 64

/* The struct of `type` whose member `member` is at `pointer`. */
#define container_of(pointer, type, member) \
  ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

struct watch {
  int fd; /* -1: not watched */
  void (*on)(struct watch *watch, uint32_t events);
};

struct loop {
  int epoll_fd;
  int count; /* of the batch being handled */
  int index;
  struct epoll_event batch[LOOP_BATCH];
};

/* 0 or a negative errno. */
int loop_open(struct loop *loop);
void loop_close(struct loop *loop);

/* Watches `fd`, edge-triggered: the handler hears of changes, not of states. */
int loop_add(struct loop *loop, struct watch *watch, int fd, uint32_t events,
             void (*on)(struct watch *, uint32_t));

/* Changes what is watched; what is there already counts as news. 0 or a negative errno. */
int loop_change(struct loop *loop, struct watch *watch, uint32_t events);

/* Stops watching and closes the descriptor; events of it that wait in the current batch are dropped.
 * Nothing happens if the watch has none. */
void loop_drop(struct loop *loop, struct watch *watch);

/* Waits up to `timeout_ms` (-1: without limit) and runs the handlers of what happened. */
int loop_turn(struct loop *loop, int timeout_ms);

#endif
