/* Connections that go to the interceptor in place of their peer, behind a line of words. */
#ifndef HUTCH_NET_INTERCEPT_H
#define HUTCH_NET_INTERCEPT_H

#include "filter.h"

enum { INTERCEPT_NAMES_MAX = 256, HTTPS_PORT = 443 };

/* From now on connections that say one of these names by TLS, any by TLS to port 443, and any by HTTP go
 * to the unix socket at `path`. No path: none do. `words`: the path and the names, NULL at their end. 0,
 * or a negative errno. */
int intercept_set(struct filter *filter, char *const *words, size_t count);

/* Whether a connection that says a name is one of them. */
bool intercept_wants(const struct filter *filter, const struct flow_key *key, bool tls, const char *name);

/* Whether one that says no name may be one of them all the same. `hides`: it should say one. */
bool intercept_misses(const struct filter *filter, const struct flow_key *key, bool tls, bool hides);

/* Writes the line of one that goes to `to`: `tls|http ADDRESS PORT NAME DOOR`. DOOR is where the program
 * hears of requests that decides about them; `-` where none has to. False: it has to, and there is none. */
bool intercept_line(const struct address *to, uint16_t port, bool tls, const char *name, char *line, size_t size);

/* A connection to the interceptor; -1: there is none. */
int intercept_dial(void);

#endif
