#define _GNU_SOURCE 1
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
  HEAD = 4,
  IN_ROOM = 512 * 1024,
  OUT_SOFT = 1024 * 1024,     /* so much may wait before nothing more is asked for */
  OUT_HARD = 4 * 1024 * 1024, /* what comes all the same is lost then, as on any wire */
  FRAMES_AT_ONCE = 64,
};

/* ---- limits ----------------------------------------------------------------------------------- */

static uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void limit_set(struct limit *limit, uint64_t bits_per_second) {
  *limit = (struct limit){.rate = bits_per_second, .at_us = now_us()};
}

static bool may(struct limit *limit) {
  if (limit->rate == 0) return true;
  uint64_t now = now_us();
  limit->credit += (double)(now - limit->at_us) * (double)limit->rate / 1e6;
  limit->at_us = now;
  if (limit->credit > (double)limit->rate / 10) limit->credit = (double)limit->rate / 10;
  return limit->credit >= 0;
}

static void spend(struct limit *limit, size_t bytes) {
  if (limit->rate != 0) limit->credit -= (double)bytes * 8;
}

static int wait_ms(const struct limit *limit) {
  if (limit->rate == 0 || limit->credit >= 0) return -1;
  double ms = -limit->credit * 1000 / (double)limit->rate;
  return ms > 1000 ? 1000 : (int)ms + 1;
}

/* ---- from the guest --------------------------------------------------------------------------- */

static size_t get32(const uint8_t *at) {
  return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
}

/* Gives the frames that are whole. False: a limit is reached before the last of them. */
static bool deliver(struct wire *wire) {
  for (int count = 0;; count++) {
    size_t have = wire->in_end - wire->in_start;
    if (wire->skip > 0) {
      size_t part = have < wire->skip ? have : wire->skip;
      wire->skip -= part;
      wire->in_start += part;
      have -= part;
    }
    if (have < HEAD) return true;
    size_t length = get32(wire->in + wire->in_start);
    if (length > FRAME_MAX) {
      wire->too_long++;
      wire->in_start += HEAD;
      wire->skip = length;
      continue;
    }
    if (have < HEAD + length) return true;
    if (count >= FRAMES_AT_ONCE || !may(&wire->up)) return false;
    spend(&wire->up, length);
    wire->frames_in++;
    wire->bytes_in += length;
    uint8_t *frame = wire->in + wire->in_start + HEAD;
    wire->in_start += HEAD + length;
    wire->frame(wire, frame, length);
  }
}

static void take(struct wire *wire) {
  if (wire->in_start > 0) {
    memmove(wire->in, wire->in + wire->in_start, wire->in_end - wire->in_start);
    wire->in_end -= wire->in_start;
    wire->in_start = 0;
  }
  ssize_t got = recv(wire->watch.fd, wire->in + wire->in_end, IN_ROOM - wire->in_end, MSG_DONTWAIT);
  if (got > 0) wire->in_end += (size_t)got;
  else if (got == 0 || (errno != EAGAIN && errno != EINTR)) loop_drop(&wire->watch);
}

/* ---- to the guest ----------------------------------------------------------------------------- */

static size_t waiting(const struct wire *wire) {
  return wire->out_end - wire->out_start;
}

bool wire_has_room(const struct wire *wire) {
  return waiting(wire) < OUT_SOFT;
}

static bool keep(struct wire *wire, const uint8_t *bytes, size_t length) {
  if (wire->out_end + length > wire->out_room && wire->out_start > 0) {
    memmove(wire->out, wire->out + wire->out_start, waiting(wire));
    wire->out_end -= wire->out_start;
    wire->out_start = 0;
  }
  if (wire->out_end + length > wire->out_room) {
    size_t room = (wire->out_end + length) * 2;
    uint8_t *more = realloc(wire->out, room);
    if (more == NULL) return false;
    wire->out = more;
    wire->out_room = room;
  }
  memcpy(wire->out + wire->out_end, bytes, length);
  wire->out_end += length;
  return true;
}

void wire_send(struct wire *wire, const uint8_t *frame, size_t length) {
  uint8_t head[HEAD] = {(uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length};
  size_t sent = 0;
  if (wire->watch.fd < 0 || waiting(wire) + length > OUT_HARD) {
    wire->lost_out++;
    return;
  }
  if (waiting(wire) == 0 && wire->down.rate == 0) {
    struct iovec parts[2] = {{head, HEAD}, {(void *)frame, length}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t put = sendmsg(wire->watch.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0) sent = (size_t)put;
  }
  wire->frames_out++;
  wire->bytes_out += length;
  if (sent == HEAD + length) return;
  bool kept = true;
  if (sent < HEAD) kept = keep(wire, head + sent, HEAD - sent);
  size_t from = sent > HEAD ? sent - HEAD : 0;
  if (!kept || !keep(wire, frame + from, length - from)) loop_drop(&wire->watch); /* half a frame can't be taken back */
  wire->watch.events |= POLLOUT;
}

static void flush(struct wire *wire) {
  if (!may(&wire->down)) return;
  size_t length = waiting(wire);
  /* Not more at once than the limit gives in a tenth of a second, so that it's smooth. */
  if (wire->down.rate != 0 && length > wire->down.rate / 80 + 1) length = wire->down.rate / 80 + 1;
  ssize_t put = send(wire->watch.fd, wire->out + wire->out_start, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (put > 0) {
    wire->out_start += (size_t)put;
    spend(&wire->down, (size_t)put);
  } else if (put < 0 && errno != EAGAIN && errno != EINTR) {
    loop_drop(&wire->watch);
  }
  if (waiting(wire) == 0) wire->out_start = wire->out_end = 0;
}

/* ---- both ------------------------------------------------------------------------------------- */

int wire_step(struct wire *wire) {
  if (wire->watch.fd < 0) return -1;
  bool whole = deliver(wire);
  if (wire->watch.fd < 0) return -1;
  if (waiting(wire) > 0 && may(&wire->down)) flush(wire);
  int up = whole ? -1 : wait_ms(&wire->up), down = waiting(wire) > 0 ? wait_ms(&wire->down) : -1;
  wire->watch.events = (short)((whole ? POLLIN : 0) | (waiting(wire) > 0 && down < 0 ? POLLOUT : 0));
  if (!whole && up < 0) return 0; /* there is more, and the others had their turn */
  return up < 0 || (down >= 0 && down < up) ? down : up;
}

static void ready(struct watch *watch, short events) {
  struct wire *wire = container_of(watch, struct wire, watch);
  if (events & (POLLIN | POLLHUP | POLLERR)) take(wire);
  if (watch->fd >= 0 && events & POLLOUT) flush(wire);
}

int wire_init(struct wire *wire, int fd, void (*frame)(struct wire *wire, uint8_t *frame, size_t length)) {
  struct limit up = wire->up, down = wire->down; /* may have been set before there was a machine */
  *wire = (struct wire){.watch = {.fd = fd, .events = POLLIN, .ready = ready}, .frame = frame, .up = up, .down = down};
  wire->in = malloc(IN_ROOM);
  if (wire->in == NULL) return -ENOMEM;
  int size = 1024 * 1024;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  loop_add(&wire->watch);
  return 0;
}
