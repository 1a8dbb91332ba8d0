#include "wire.h"

#include "frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* the process ignores SIGPIPE anyway */
#endif

/* Room for conversation; and, once that was too little, for one frame in work and one arriving. */
enum { SMALL = 16 * 1024, LARGE = 2 * (HUTCH_HEADER_SIZE + HUTCH_MAX_PAYLOAD) };
/* Least and most bytes of a chunk. */
enum { LEAST = 4 * 1024 - 64, MOST = 64 * 1024 };
/* Most bytes of one write. What a write took of a socket's room is free again once all of it was read, and
 * of more room the system tells only when a quarter is still taken: after few large writes the reader has
 * nothing left by then, and stands still until this thread had its turn. */
enum { PIECE = 32 * 1024 };
/* Large chunks that are kept. */
enum { SPARE_CHUNKS = 16 };

struct chunk {
  struct chunk *next;
  size_t from, to, size;
  uint8_t bytes[];
};

static int resize(struct wire *wire, size_t size) {
  uint8_t *bytes = malloc(size);
  if (bytes == NULL) return -ENOMEM;
  size_t left = wire->end - wire->start;
  if (left > 0) memcpy(bytes, wire->in + wire->start, left);
  free(wire->in);
  wire->in = bytes;
  wire->start = 0;
  wire->end = left;
  wire->size = size;
  return 0;
}

static int make_room(struct wire *wire) {
  if (wire->size == 0) return resize(wire, SMALL);
  size_t left = wire->end - wire->start;
  bool filled = wire->end == wire->size; /* much is coming */
  if (filled && wire->size == SMALL) return resize(wire, LARGE);
  /* Moving bytes costs; it is worth it only when the room behind them gets small. */
  if (left == 0 || wire->size - wire->end < wire->size / 2) {
    if (left > 0) memmove(wire->in, wire->in + wire->start, left);
    wire->start = 0;
    wire->end = left;
  }
  return 0;
}

long wire_fill(struct wire *wire) {
  int result = make_room(wire);
  if (result < 0) return result;
  long count;
  do count = read(wire->fd, wire->in + wire->end, wire->size - wire->end);
  while (count < 0 && errno == EINTR);
  if (count < 0) return -errno;
  wire->end += (size_t)count;
  return count;
}

/* How many bytes were taken, 0 if none can be now; or a negative errno. */
static long put(int fd, const uint8_t *bytes, size_t length) {
  long sent;
  do sent = send(fd, bytes, length < PIECE ? length : PIECE, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  if (sent >= 0) return sent;
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS ? 0 : -errno;
}

/* NULL: there is no memory. */
static struct chunk *make_chunk(struct spares *spares, size_t size) {
  struct chunk *chunk = size == MOST ? spares->first : NULL;
  if (chunk != NULL) {
    spares->first = chunk->next;
    spares->count--;
  } else {
    chunk = malloc(sizeof *chunk + size);
    if (chunk == NULL) return NULL;
  }
  *chunk = (struct chunk){.size = size};
  return chunk;
}

static void put_away(struct spares *spares, struct chunk *chunk) {
  if (chunk->size < MOST || spares->count == SPARE_CHUNKS) {
    free(chunk);
    return;
  }
  chunk->next = spares->first;
  spares->first = chunk;
  spares->count++;
}

void spares_free(struct spares *spares) {
  for (struct chunk *each = spares->first, *next; each != NULL; each = next) {
    next = each->next;
    free(each);
  }
  *spares = (struct spares){0};
}

static int wait_with(struct wire *wire, const uint8_t *bytes, size_t length) {
  while (length > 0) {
    struct chunk *last = wire->last;
    if (last == NULL || last->to == last->size) {
      size_t size = length < LEAST ? LEAST : MOST;
      struct chunk *more = make_chunk(wire->spares, size);
      if (more == NULL) return -ENOMEM;
      if (last != NULL) last->next = more;
      else wire->first = more;
      wire->last = last = more;
    }
    size_t part = last->size - last->to < length ? last->size - last->to : length;
    memcpy(last->bytes + last->to, bytes, part);
    last->to += part;
    bytes += part;
    length -= part;
    wire->waiting += part;
  }
  return 0;
}

int wire_send(struct wire *wire, const void *bytes, size_t length) {
  const uint8_t *from = bytes;
  while (wire->waiting == 0 && length > 0) {
    long sent = put(wire->fd, from, length);
    if (sent < 0) return (int)sent;
    if (sent == 0) break;
    from += sent;
    length -= (size_t)sent;
  }
  return wait_with(wire, from, length);
}

/* Takes written bytes off the first chunk. */
static void took(struct wire *wire, size_t count) {
  struct chunk *first = wire->first;
  wire->waiting -= count;
  first->from += count;
  if (first->from < first->to) return;
  wire->first = first->next;
  if (wire->first == NULL) wire->last = NULL;
  put_away(wire->spares, first);
}

int wire_flush(struct wire *wire) {
  while (wire->waiting > 0) {
    const struct chunk *first = wire->first;
    long sent = put(wire->fd, first->bytes + first->from, first->to - first->from);
    if (sent <= 0) return (int)sent;
    took(wire, (size_t)sent);
  }
  return 0;
}

void wire_forget(struct wire *wire) {
  for (struct chunk *each = wire->first, *next; each != NULL; each = next) {
    next = each->next;
    put_away(wire->spares, each);
  }
  wire->first = wire->last = NULL;
  wire->waiting = 0;
}

void wire_close(struct wire *wire) {
  wire_forget(wire);
  free(wire->in);
  if (wire->fd >= 0) close(wire->fd);
  *wire = (struct wire){.fd = -1, .spares = wire->spares};
}
