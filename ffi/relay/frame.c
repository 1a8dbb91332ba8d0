#include "frame.h"

#include "transfer_disk.h"

#include <stdio.h>

/* What a type of frame may look like. */
struct shape {
  const char *name; /* NULL: there is no such type */
  uint8_t sides;
  bool connection; /* about the connection (stream 0), not about a stream */
  bool channel;    /* its flags have a channel */
  uint8_t flags;   /* other bits that they may have */
  uint32_t least, most;
};

enum { BOTH = SIDE_AGENT | SIDE_HOST };
#define MESSAGE .least = 1, .most = HUTCH_MAX_MESSAGE

static const struct shape SHAPES[] = {
  [HUTCH_HELLO] = {"HELLO", .sides = SIDE_AGENT, .connection = true, MESSAGE},
  [HUTCH_OPEN] = {"OPEN", .sides = SIDE_HOST, .flags = HUTCH_BACKGROUND | HUTCH_HELD | HUTCH_WIDE, MESSAGE},
  [HUTCH_REPLY] = {"REPLY", .sides = SIDE_AGENT, MESSAGE},
  [HUTCH_ERROR] = {"ERROR", .sides = SIDE_AGENT, MESSAGE},
  [HUTCH_DATA] = {"DATA", .sides = BOTH, .channel = true, .flags = HUTCH_END, .most = HUTCH_MAX_PAYLOAD},
  [HUTCH_CREDIT] = {"CREDIT", .sides = BOTH, .channel = true, .least = 4, .most = 4},
  [HUTCH_CONTROL] = {"CONTROL", .sides = SIDE_HOST, MESSAGE},
  [HUTCH_EXIT] = {"EXIT", .sides = SIDE_AGENT, MESSAGE},
  [HUTCH_CLOSE] = {"CLOSE", .sides = BOTH},
  [HUTCH_GOODBYE] = {"GOODBYE", .sides = SIDE_AGENT, .connection = true, MESSAGE},
  [HUTCH_TAKEN] = {"TAKEN", .sides = SIDE_AGENT, .connection = true, .least = 4, .most = 4},
};

uint32_t frame_u32(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

void frame_put_u32(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

struct frame frame_read(const uint8_t *at) {
  return (struct frame){.length = frame_u32(at), .stream = frame_u32(at + 4), .type = at[8], .flags = at[9]};
}

void frame_renumber(uint8_t *at, uint32_t stream) {
  frame_put_u32(at + 4, stream);
}

void frame_write(uint8_t *at, const struct frame *frame) {
  frame_put_u32(at, frame->length);
  frame_put_u32(at + 4, frame->stream);
  at[8] = frame->type;
  at[9] = frame->flags;
}

static const struct shape *shape_of(uint8_t type) {
  return type < sizeof SHAPES / sizeof *SHAPES && SHAPES[type].name != NULL ? &SHAPES[type] : NULL;
}

const char *frame_name(uint8_t type) {
  const struct shape *shape = shape_of(type);
  return shape != NULL ? shape->name : "a frame";
}

#define WRONG(...) (snprintf(problem, PROBLEM_SIZE, __VA_ARGS__), false)

static bool flags_are_good(const struct frame *frame, const struct shape *shape) {
  if (!shape->channel) return (frame->flags & ~shape->flags) == 0;
  return (frame->flags & ~(HUTCH_CHANNEL_MASK | shape->flags)) == 0 &&
    (frame->flags & HUTCH_CHANNEL_MASK) != HUTCH_CHANNEL_MASK;
}

bool frame_is_good(const struct frame *frame, enum side side, char *problem) {
  const struct shape *shape = shape_of(frame->type);
  if (shape == NULL) return WRONG("frame type %u is unknown", frame->type);
  if ((shape->sides & side) == 0)
    return WRONG("%s isn't a frame that the %s sends", shape->name, side == SIDE_AGENT ? "agent" : "host");
  if (frame->length < shape->least || frame->length > shape->most)
    return WRONG("%s of %u bytes isn't within %u to %u", shape->name, frame->length, shape->least, shape->most);
  if (shape->connection != (frame->stream == 0))
    return WRONG("%s came on stream %u", shape->name, frame->stream);
  if (!flags_are_good(frame, shape)) return WRONG("%s has flags %u", shape->name, frame->flags);
  if (frame->type == HUTCH_DATA && frame->length == 0 && (frame->flags & HUTCH_END) == 0)
    return WRONG("DATA is empty and doesn't end its channel");
  return true;
}
