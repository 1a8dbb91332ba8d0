/* What is told of conversations: that they begin, that they end, and the bytes that they carried. Where
 * they end is what the guest says, at first: whether the stack believed it shows in what that says next. */
#ifndef HUTCH_NET_TALLY_H
#define HUTCH_NET_TALLY_H

#include "filter.h"

/* One begins; `rule` let it. */
void tally_begun(struct filter *filter, struct flow *flow, int rule);

/* The guest goes on with one of TCP that isn't known: over, or forgotten in its middle. False: there is no
 * room to find out which. */
bool tally_unknown(struct filter *filter, const struct flow_key *key, int rule, uint64_t now_ms);

/* A frame of the guest's, and one of the stack's. */
void tally_guest(struct filter *filter, struct flow *flow, const struct packet *packet, uint64_t now_ms);
void tally_host(struct filter *filter, struct flow *flow, const struct packet *packet, uint64_t now_ms);

#endif
