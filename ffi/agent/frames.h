/* The framing of ffi/protocol.h: headers, and a reader that takes a byte stream apart. */
#ifndef HUTCH_AGENT_FRAMES_H
#define HUTCH_AGENT_FRAMES_H

#include "../protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct frame {
  uint32_t length;
  uint32_t stream;
  uint8_t type;
  uint8_t flags;
};

uint32_t frame_u32(const uint8_t *at);
void frame_put_u32(uint8_t *at, uint32_t value);
void frame_encode(const struct frame *frame, uint8_t header[HUTCH_HEADER_SIZE]);
void frame_decode(const uint8_t header[HUTCH_HEADER_SIZE], struct frame *frame);

/* Why the host may not send such a frame, or NULL. After such a frame the stream of bytes can't be
 * trusted any more. */
const char *frame_refusal(const struct frame *frame);

/* Bytes that wait to be parsed. The reader's owner reads into `buffer + end` and then parses. The
 * buffer holds any message whole; DATA is handed on in pieces as it arrives. */
#define FRAME_BUFFER (256 * 1024)
_Static_assert(FRAME_BUFFER >= HUTCH_MAX_MESSAGE + HUTCH_HEADER_SIZE, "a message must fit");

struct frame_reader {
  size_t start;
  size_t end;
  struct frame data;  /* the DATA frame under way ... */
  uint32_t data_left; /* ... and how much of it is to come */
  bool in_data;
  uint8_t buffer[FRAME_BUFFER];
};

struct frame_sink {
  void *context;
  /* A frame other than DATA, or one with HUTCH_PLACED. */
  void (*message)(void *context, const struct frame *frame, const uint8_t *payload);
  /* A piece of a DATA frame; `last` with its last piece, which may be empty. */
  void (*data)(void *context, const struct frame *frame, const uint8_t *bytes, size_t length, bool last);
  /* Where the next piece of a DATA frame under way may be put, up to `*room` bytes (1 at least), before
   * `data` gets it; NULL: nowhere. May be NULL itself. */
  uint8_t *(*place)(void *context, const struct frame *frame, size_t *room);
};

/* Hands on all that is whole. 0, or -EPROTO with *why set. */
int frames_parse(struct frame_reader *reader, const struct frame_sink *sink, const char **why);
/* Hands on a piece of the DATA frame under way that is elsewhere; no more than it has left. */
void frames_placed(struct frame_reader *reader, const struct frame_sink *sink, const uint8_t *bytes, size_t length);

#endif
