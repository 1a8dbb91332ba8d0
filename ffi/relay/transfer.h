/* The transfer disk, as the relay has it: see transfer_disk.h. A file without a name, which goes with the process;
 * what was in it goes once all of it was read and nothing is open in the guest. */
#ifndef HUTCH_RELAY_TRANSFER_H
#define HUTCH_RELAY_TRANSFER_H

#include "frame.h"
#include "transfer_disk.h"

#include <stddef.h>

/* Fewer bytes go through the channel. Emulated, it carries about 125 MiB/s, whatever the size; by the disk pieces
 * of 34 KiB went at 95, of 64 KiB at 100 to 155, of 96 KiB at 190, of 128 KiB at 250. */
enum { TRANSFER_LEAST = 96 * 1024 };
enum { TRANSFER_PIECES = HUTCH_TRANSFER_BYTES / TRANSFER_LEAST };

struct transfer {
  int fd;       /* -1: there is none */
  bool offered; /* the agent reads from it */
  bool written; /* since it was emptied */
  uint32_t mark; /* of the last piece */
  uint32_t at, used;
  /* What each piece takes, with a gap before it at the disk's end: spans[(first + i) % TRANSFER_PIECES]. */
  uint32_t spans[TRANSFER_PIECES];
  unsigned first, count;
};

/* Takes the file `fd` over; -1: makes it. Without one on systems that have no such files. */
void transfer_open(struct transfer *transfer, int fd);
void transfer_close(struct transfer *transfer);

/* Puts the DATA frame at `at`, a whole one, on the disk, and its stand-in at `placed`. False: it can't now, or
 * isn't worth it. */
bool transfer_put(struct transfer *transfer, const uint8_t *at, uint8_t placed[HUTCH_HEADER_SIZE + HUTCH_PLACED_SIZE]);

/* The agent has read so many more pieces. False: it can't have. */
bool transfer_taken(struct transfer *transfer, uint32_t count);

/* Forgets what is in it, if nobody is to read it any more. */
void transfer_empty(struct transfer *transfer);

#endif
