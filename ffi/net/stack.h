/* The network stack (libslirp), which has the guest's connections end here and makes sockets of this
 * process of them. */
#ifndef HUTCH_NET_STACK_H
#define HUTCH_NET_STACK_H

#include "filter.h"
#include "wire.h"

enum { STACK_MTU = 65520 };

/* Makes it; the guest's frames come in by stack_input, its answers go through `filter` to `wire`.
 * 0, or -1. */
int stack_init(struct filter *filter, struct wire *wire);

/* A frame that the filter has let through. */
void stack_input(const uint8_t *frame, size_t length);

/* One turn of the loop: waits for the stack's sockets and all watches. `timeout_ms` -1: no limit. */
void stack_turn(int timeout_ms);

/* Opens a port of this machine to a port of the guest, or closes it. `*port` 0: the system chooses,
 * and it says which. 0, or a negative errno. */
int stack_publish(uint8_t protocol, const struct address *address, uint16_t *port, uint16_t guest_port);
int stack_unpublish(uint8_t protocol, const struct address *address, uint16_t port);

/* The diverted conversation whose socket on this machine has this port; NULL: none. */
const struct flow *stack_origin(uint16_t local_port);

/* How many sockets the stack has, as of the last turn. */
unsigned stack_sockets(void);

#endif
