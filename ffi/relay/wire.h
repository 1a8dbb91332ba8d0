/* One connection's two directions: bytes that came and aren't whole frames yet, and bytes that wait to be
 * written. */
#ifndef HUTCH_RELAY_WIRE_H
#define HUTCH_RELAY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chunk;

/* Memory in which bytes have waited, at most a megabyte, for those that wait next: from the system, each
 * page would cost a fault and be cleared. */
struct spares {
  struct chunk *first;
  unsigned count;
};

struct wire {
  int fd; /* -1: there is none */
  /* Came, and not looked at: in[start..end]. */
  uint8_t *in;
  size_t start, end, size;
  /* Waits. */
  struct chunk *first, *last;
  size_t waiting;
  struct spares *spares; /* shared by wires of one thread */
};

/* Reads once. How many bytes came, 0 at the end, or a negative errno: -EAGAIN when there are none now,
 * -ENOMEM. A frame of any legal size fits. */
long wire_fill(struct wire *wire);

/* Writes bytes, or has those wait that the other end doesn't take now. 0, or a negative errno. */
int wire_send(struct wire *wire, const void *bytes, size_t length);

/* Writes what waits, as far as it is taken. 0, or a negative errno. */
int wire_flush(struct wire *wire);

/* Forgets what waits. */
void wire_forget(struct wire *wire);

/* Closes it, and frees what it holds. */
void wire_close(struct wire *wire);

void spares_free(struct spares *spares);

#endif
