#include "loop.h"

#include <errno.h>
#include <unistd.h>

int loop_open(struct loop *loop) {
  loop->count = 0;
  loop->index = 0;
  loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_close(struct loop *loop) {
  if (loop->epoll_fd >= 0) close(loop->epoll_fd);
  loop->epoll_fd = -1;
}

int loop_add(struct loop *loop, struct watch *watch, int fd, uint32_t events,
             void (*on)(struct watch *, uint32_t)) {
  struct epoll_event event = {.events = events | EPOLLET, .data.ptr = watch};
  if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
    int error = errno;
    watch->fd = -1;
    return -error;
  }
  watch->fd = fd;
  watch->on = on;
  return 0;
}

int loop_change(struct loop *loop, struct watch *watch, uint32_t events) {
  struct epoll_event event = {.events = events | EPOLLET, .data.ptr = watch};
  return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

void loop_drop(struct loop *loop, struct watch *watch) {
  if (watch->fd < 0) return;
  /* Explicitly: a descriptor that a child still holds a copy of would stay in the epoll set. */
  epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
  close(watch->fd);
  watch->fd = -1;
  for (int i = loop->index + 1; i < loop->count; i++) {
    if (loop->batch[i].data.ptr == watch) loop->batch[i].data.ptr = NULL;
  }
}

int loop_turn(struct loop *loop, int timeout_ms) {
  int count = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, timeout_ms);
  if (count < 0) return errno == EINTR ? 0 : -errno;
  loop->count = count;
  for (loop->index = 0; loop->index < count; loop->index++) {
    struct epoll_event *event = &loop->batch[loop->index];
    struct watch *watch = event->data.ptr;
    if (watch != NULL) watch->on(watch, event->events);
  }
  loop->count = 0;
  loop->index = 0;
  return 0;
}
