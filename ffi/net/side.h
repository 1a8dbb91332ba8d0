/* One side of a connection that is passed on, with what is still to be written to it. */
#ifndef HUTCH_NET_SIDE_H
#define HUTCH_NET_SIDE_H

#include "loop.h"

#include <stddef.h>

struct side {
  struct watch watch;
  bool connected, ended, shut; /* `ended`: it says nothing more; `shut`: nor do we, to it */
  uint8_t *rest;
  size_t start, length;
};

/* Keeps bytes for later. False: there is no memory. */
bool side_keep(struct side *to, const uint8_t *bytes, size_t length);

/* Writes what can go of what waits. False: nothing can go any more. */
bool side_flush(struct side *to);

/* Takes what one side says to the other. False: the connection is over by an error. */
bool side_carry(struct side *from, struct side *to);

/* Ends it at once, and lets the other end know that it isn't by its own wish. */
void side_reset(struct side *side);

#endif
