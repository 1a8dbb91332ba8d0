/* First frames of what hooks are being asked about: kept until there is an answer, then looked at again. */
#ifndef HUTCH_NET_HELD_H
#define HUTCH_NET_HELD_H

#include "filter.h"

/* `again` takes a frame with the filter's permit for it. */
void held_init(struct filter *filter, void (*again)(uint8_t *frame, size_t length));

/* Asks about the frame that the filter has just said FILTER_ASK to. */
void held_ask(uint8_t *frame, size_t length);

#endif
