/* What an agent may send on one stream and when, and the credit of the stream's channels: what bounds
 * the relay's memory. The same as src/guest/stream_rules.ts, which clients go by. */
#ifndef HUTCH_RELAY_RULES_H
#define HUTCH_RELAY_RULES_H

#include "frame.h"

struct rules {
  bool replied, failed, exited;
  uint8_t ended;           /* a bit per channel that the agent ended */
  uint32_t window;         /* what may be of each channel: */
  uint32_t under_way[3];   /* payload bytes of each channel that weren't given back */
};

/* Room for what is wrong, less than PROBLEM_SIZE. */
enum { RULE_PROBLEM_SIZE = 120 };

/* Takes a frame of the agent, whose header was judged, into account; `credit` is the count of a CREDIT.
 * False, and `problem`, if it may not come now. */
bool rules_receive(struct rules *rules, const struct frame *frame, uint32_t credit, char *problem);

/* Notes stdin on its way to the agent; false, and nothing, if its window has no room for it. */
bool rules_send(struct rules *rules, uint32_t count);

/* Notes output that is given back; false, and nothing, if so much isn't under way. */
bool rules_grant(struct rules *rules, unsigned channel, uint32_t count);

#endif
