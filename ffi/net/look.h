/* Looking at what a connection says: what may go on waits in its server's rest. Each function takes what
 * has come; false: it ends at once. */
#ifndef HUTCH_NET_LOOK_H
#define HUTCH_NET_LOOK_H

#include "gated.h"

/* The guest's first bytes. */
bool look_first(struct gated *gated);

/* Its requests, while each is looked at. */
bool look_requests(struct gated *gated);

/* Whether the server's answer to a request for another protocol is waited for, and what comes of it, which
 * goes to the guest. */
bool look_answers(const struct gated *gated);
bool look_answer(struct gated *gated);

/* Tells that a connection is refused which said no name where it should. */
void look_denied(const struct gated *gated);

#endif
