/* The box's network interface. */
#ifndef HUTCH_AGENT_NETWORK_H
#define HUTCH_AGENT_NETWORK_H

#include "failure.h"

#include <stdbool.h>

struct request;

/* Gives eth0 the addresses, gateways and MTU of a configure request and brings it up; does nothing when
 * there are no addresses. 0, or -1 with `failure` filled. */
int network_configure(const struct request *request, struct failure *failure);

/* Gives eth0 another hardware address. Where it has addresses already, the link-local one that goes with
 * the former is left to `network_settle`. 0, or a negative errno. */
int network_rename(const char *mac, bool has_addresses);

/* Exchanges the link-local address, if it has to be; in this process, or in a child made since. It takes
 * an emulated guest as long as a command, and nobody waits for it: the former one is as good, as no two
 * boxes share a network. 0, or a negative errno. */
int network_settle(void);

#endif
