#include "frames.h"

#include "../transfer_disk.h"

#include <errno.h>
#include <string.h>

void frame_put_u32(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 24);
  at[1] = (uint8_t)(value >> 16);
  at[2] = (uint8_t)(value >> 8);
  at[3] = (uint8_t)value;
}

uint32_t frame_u32(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

void frame_encode(const struct frame *frame, uint8_t header[HUTCH_HEADER_SIZE]) {
  frame_put_u32(header, frame->length);
  frame_put_u32(header + 4, frame->stream);
  header[8] = frame->type;
  header[9] = frame->flags;
}

void frame_decode(const uint8_t header[HUTCH_HEADER_SIZE], struct frame *frame) {
  frame->length = frame_u32(header);
  frame->stream = frame_u32(header + 4);
  frame->type = header[8];
  frame->flags = header[9];
}

const char *frame_refusal(const struct frame *frame) {
  if (frame->stream == 0) return "a frame on stream 0";
  switch (frame->type) {
    case HUTCH_DATA:
      if ((frame->flags & HUTCH_PLACED) && frame->length != HUTCH_PLACED_SIZE) return "a piece that is nowhere";
      return frame->length > HUTCH_MAX_PAYLOAD ? "a DATA frame over the size limit" : NULL;
    case HUTCH_OPEN:
    case HUTCH_CREDIT:
    case HUTCH_CONTROL:
    case HUTCH_CLOSE:
      return frame->length > HUTCH_MAX_MESSAGE ? "a message over the size limit" : NULL;
    default:
      return "a frame of a type that the host may not send";
  }
}

void frames_placed(struct frame_reader *reader, const struct frame_sink *sink, const uint8_t *bytes, size_t length) {
  reader->data_left -= (uint32_t)length;
  reader->in_data = reader->data_left > 0;
  sink->data(sink->context, &reader->data, bytes, length, !reader->in_data);
}

static void pass_data(struct frame_reader *reader, const struct frame_sink *sink) {
  size_t have = reader->end - reader->start;
  size_t piece = have < reader->data_left ? have : reader->data_left;
  const uint8_t *bytes = reader->buffer + reader->start;
  reader->start += piece;
  frames_placed(reader, sink, bytes, piece);
}

int frames_parse(struct frame_reader *reader, const struct frame_sink *sink, const char **why) {
  for (;;) {
    size_t have = reader->end - reader->start;
    if (reader->in_data) {
      if (have == 0) break;
      pass_data(reader, sink);
      continue;
    }
    if (have < HUTCH_HEADER_SIZE) break;
    const uint8_t *at = reader->buffer + reader->start;
    struct frame frame;
    frame_decode(at, &frame);
    *why = frame_refusal(&frame);
    if (*why != NULL) return -EPROTO;
    if (frame.type == HUTCH_DATA && !(frame.flags & HUTCH_PLACED)) {
      reader->start += HUTCH_HEADER_SIZE;
      reader->data = frame;
      reader->data_left = frame.length;
      pass_data(reader, sink);
      continue;
    }
    if (have - HUTCH_HEADER_SIZE < frame.length) break;
    reader->start += HUTCH_HEADER_SIZE + frame.length;
    sink->message(sink->context, &frame, at + HUTCH_HEADER_SIZE);
  }
  size_t rest = reader->end - reader->start;
  if (rest > 0 && reader->start > 0) memmove(reader->buffer, reader->buffer + reader->start, rest);
  reader->start = 0;
  reader->end = rest;
  return 0;
}
