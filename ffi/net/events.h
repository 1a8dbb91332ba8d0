/* What programs are told of a box's network: lines of JSON, to the first of those that listen. While
 * nobody does, the newest are kept for the next one. */
#ifndef HUTCH_NET_EVENTS_H
#define HUTCH_NET_EVENTS_H

#include "filter.h"

void events_init(struct filter *filter);

/* Something may not be reached. */
void events_denied(void *context, const struct denial *denial);

/* A conversation began, for who asked for a log of them; its end. */
void events_begun(void *context, const struct flow *flow);
void events_over(void *context, const struct flow *flow);

/* A secret was sent where it isn't for. */
void events_leaked(const char *secret, const struct address *address, uint16_t port, const char *name);

/* Tells what was kept to who listens now. */
void events_replay(void);

/* How many weren't told, since there were too many at once, or nobody listened for too long. */
extern uint64_t events_lost;

#endif
