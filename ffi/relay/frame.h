/* Frame headers: reading, writing and judging them. */
#ifndef HUTCH_RELAY_FRAME_H
#define HUTCH_RELAY_FRAME_H

#include "protocol.h"

#include <stdbool.h>
#include <stdint.h>

struct frame {
  uint32_t length; /* of the payload */
  uint32_t stream;
  uint8_t type;
  uint8_t flags;
};

/* Who sent a frame. */
enum side { SIDE_AGENT = 1, SIDE_HOST = 2 };

/* Room for what is wrong, for people. */
enum { PROBLEM_SIZE = 160 };

uint32_t frame_u32(const uint8_t *at);
void frame_put_u32(uint8_t *at, uint32_t value);
struct frame frame_read(const uint8_t *at);
/* Puts another stream number into the header at `at`. */
void frame_renumber(uint8_t *at, uint32_t stream);
/* Writes HUTCH_HEADER_SIZE bytes. */
void frame_write(uint8_t *at, const struct frame *frame);
const char *frame_name(uint8_t type);

/* Whether a header that `side` sent is as protocol.h says; if not, `problem` says why: unknown or
 * misplaced types, lengths out of bounds, stream 0 for what needs one and the reverse, flags that mean
 * nothing. */
bool frame_is_good(const struct frame *frame, enum side side, char *problem);

#endif
