/* Memory that the agent shares with a program of its own, in which a copy's bytes pass from one to the
 * other without being copied: a pipe would cost a copy on either side and a page's making on the way,
 * which is more than the channel itself does.
 *
 * Pipes are there nevertheless. Over the program's standard input and output go counts (u32, as the
 * machine has them): how many bytes the writer has added, and how many the reader is done with. Whoever
 * may trace the program can write to all of it, so the agent trusts no count, and nothing that it keeps
 * for itself is in there. */
#ifndef HUTCH_AGENT_RING_H
#define HUTCH_AGENT_RING_H

#include "../protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All that may be under way fits. */
#define RING_BYTES ((size_t)HUTCH_WIDE_WINDOW)

/* Maps it twice in a row: what begins at any of its bytes is in one piece. NULL with errno set. */
uint8_t *ring_open(void);
/* The program has it: no other child is to. */
void ring_keep(uint8_t *ring);
void ring_close(uint8_t *ring);

/* ---- the program's side ---- */

struct ring_end {
  uint8_t *ring;
  size_t at;    /* where it goes on */
  size_t count; /* bytes from there on that may be read, or be written */
  bool over;    /* no more bytes come */
};

/* Waits until `count` is at least `wanted`, or it is over. */
void ring_wait(struct ring_end *end, size_t wanted);
/* So many bytes were read, or written: tells the agent. False: it doesn't listen any more. */
bool ring_pass(struct ring_end *end, size_t count);

static inline uint8_t *ring_here(const struct ring_end *end) {
  return end->ring + end->at;
}

#endif
