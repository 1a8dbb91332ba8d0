/* The machine's network device: a stream of frames, each behind its length. */
#ifndef HUTCH_NET_WIRE_H
#define HUTCH_NET_WIRE_H

#include "loop.h"
#include "packet.h"

#include <stddef.h>

/* So many bits per second; time that was not used adds up to a tenth of a second. */
struct limit {
  uint64_t rate; /* 0: no limit */
  double credit;
  uint64_t at_us;
};

struct wire {
  struct watch watch;
  uint8_t *in;
  size_t in_start, in_end;
  size_t skip;        /* bytes to come of a frame that is too long */
  uint8_t *out;
  size_t out_start, out_end, out_room;
  struct limit up, down; /* from the guest, to it */
  uint64_t frames_in, bytes_in, frames_out, bytes_out, lost_out, too_long;
  void (*frame)(struct wire *wire, uint8_t *frame, size_t length);
};

/* Takes over a connected socket. 0, or a negative errno. */
int wire_init(struct wire *wire, int fd, void (*frame)(struct wire *wire, uint8_t *frame, size_t length));

/* Sends a frame to the guest, now or later; forgets it when far too much waits. */
void wire_send(struct wire *wire, const uint8_t *frame, size_t length);

/* Whether the guest takes what it gets: whoever can should wait otherwise. */
bool wire_has_room(const struct wire *wire);

/* Goes on after a pause that a limit made. How long to wait for the next time, in ms; -1: it is not
 * known, or there is no need. */
int wire_step(struct wire *wire);

void limit_set(struct limit *limit, uint64_t bits_per_second);

#endif
