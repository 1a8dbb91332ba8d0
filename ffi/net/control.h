/* Orders from the box process and from programs: lines of words, each answered by a line of JSON. (Words,
 * so that nothing here has to read JSON.) Answers come in the orders' sequence.
 *
 *   mode nat|open                                        what is allowed where no rule says
 *   rules [RULE[;RULE]...]                               replaces all rules, see policy.h
 *   publish tcp|udp ADDRESS PORT GUEST_PORT              {"ok":true,"port":N}
 *   unpublish tcp|udp ADDRESS PORT
 *   ports                                                {"ok":true,"ports":[...]}
 *   dns [ADDRESS PORT]...                                asks these servers; none: the machine's
 *   limit up|down BITS_PER_SECOND                        0: no limit
 *   counters                                             {"ok":true,"counters":{...}}
 *   origin PORT                                          where the diverted connection that comes from
 *                                                        this port of the loopback was to go
 *   intercept [PATH NAME...]                             see gate.h
 *   leaked SECRET ADDRESS PORT NAME                      tells of a secret that was sent elsewhere
 *   events                                               lines {"event":"denied",...} from now on
 *
 * What can't be done is answered by {"ok":false,"error":"...","code":"EADDRINUSE"}. */
#ifndef HUTCH_NET_CONTROL_H
#define HUTCH_NET_CONTROL_H

#include "filter.h"
#include "wire.h"

/* Listens at `path`, and takes orders from standard input, whose end ends the program. */
int control_init(struct filter *filter, struct wire *wire, const char *path);

/* Tells those who asked for it. `name` may be NULL; protocol 0 is a question for it. */
void control_denied(const struct flow_key *key, enum group group, int rule, const char *name);

#endif
