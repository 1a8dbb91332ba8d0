/* Connections whose first bytes tell whom they are for: they end here, are looked at, and go on from here
 * if the policy agrees. What the other side says first isn't held up. */
#ifndef HUTCH_NET_GATE_H
#define HUTCH_NET_GATE_H

#include "filter.h"

/* Opens the ports to which the filter diverts them. 0, or a negative errno. */
int gate_init(struct filter *filter);

/* Gives up those that don't get to a name. When to come again, in ms; -1: when something happens. */
int gate_step(void);

#endif
