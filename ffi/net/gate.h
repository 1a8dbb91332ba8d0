/* Connections whose first bytes tell whom they are for: they end here, are looked at, and go on from here
 * if the policy agrees. What the other side says first isn't held up. */
#ifndef HUTCH_NET_GATE_H
#define HUTCH_NET_GATE_H

#include "filter.h"

enum { GATE_NAMES_MAX = 256 };

/* From now on connections that say one of these names by TLS, any by TLS to port 443, and any by HTTP go
 * to the unix socket at `path` in place of their peer, behind a line `tls|http ADDRESS PORT NAME`. No
 * path: none do. `words`: the path and the names, NULL at their end. 0, or a negative errno. */
int gate_intercept(char *const *words, size_t count);

/* Opens the ports to which the filter diverts them. 0, or a negative errno. */
int gate_init(struct filter *filter);

/* Gives up those that don't get to a name. When to come again, in ms; -1: when something happens. */
int gate_step(void);

#endif
