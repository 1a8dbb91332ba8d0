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
 *   counters                                             {"ok":true,"counters":{...}}; quietMs: since a
 *                                                        conversation carried something
 *   origin PORT                                          where the diverted connection that comes from
 *                                                        this port of the loopback was to go
 *   intercept [PATH NAME...]                             see intercept.h
 *   leaked SECRET ADDRESS PORT NAME                      tells of a secret that was sent elsewhere
 *   events                                               lines {"event":...} from now on, see events.h
 *   log on|off                                           whether conversations are events too
 *   hooks [connect] [dns] [request]                      nothing of these kinds without a program's word
 *   asks [DOOR]                                          answers questions from now on: lines {"ask":ID,...};
 *                                                        DOOR: where it hears of requests (intercept.h)
 *   answer ID allow|to ADDRESS PORT|names TTL [ADDRESS...]|deny refused|failed|late PLUGIN
 *                                                        says nothing where it can be read
 *   hooked refused|failed|late|gone PLUGIN|- ADDRESS PORT NAME
 *                                                        tells of a request that a hook denied
 *
 * What can't be done is answered by {"ok":false,"error":"...","code":"EADDRINUSE"}. */
#ifndef HUTCH_NET_CONTROL_H
#define HUTCH_NET_CONTROL_H

#include "filter.h"
#include "wire.h"

/* Listens at `path`, and takes orders from standard input, whose end ends the program. */
int control_init(struct filter *filter, struct wire *wire, const char *path);

/* A line to the first program that listens to events; false: nobody does. */
bool control_tell(const char *text);

/* A line to the first program that answers questions; false: nobody does. */
bool control_ask(const char *text);

/* Where that program hears of requests, as the interceptor is told; NULL: nowhere. */
const char *control_door(void);

/* What a protocol is called; 0 is a question for a name. */
const char *control_protocol(uint8_t protocol);

#endif
