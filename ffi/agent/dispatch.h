/* What a frame from the host leads to. */
#ifndef HUTCH_AGENT_DISPATCH_H
#define HUTCH_AGENT_DISPATCH_H

#include "frames.h"

/* For a frame_sink whose context is the agent. */
void dispatch_message(void *context, const struct frame *frame, const uint8_t *payload);
void dispatch_data(void *context, const struct frame *frame, const uint8_t *bytes, size_t length, bool last);
uint8_t *dispatch_place(void *context, const struct frame *frame, size_t *room);

#endif
