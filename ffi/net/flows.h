/* What the guest talks to: one entry for each conversation, with what was decided about it. */
#ifndef HUTCH_NET_FLOWS_H
#define HUTCH_NET_FLOWS_H

#include "address.h"

enum { FLOWS_MAX = 8192, FLOW_BUCKETS = 16384, FLOW_NONE = 0xffff };

struct flow_key {
  struct address remote;
  uint16_t remote_port;
  uint16_t guest_port;
  uint8_t protocol;
};

struct flow {
  struct flow_key key;     /* as the guest sees it */
  struct flow_key inner;   /* as the stack sees it, where that differs */
  bool used, diverted;
  bool inbound;            /* begun from outside: a published port */
  bool guest_ended, host_ended, reset;
  bool answered;           /* by the side that didn't begin it */
  uint16_t local_port;     /* of the host's socket, for diverted TCP; 0: not known */
  struct address to;       /* where a hook sends it; `to_port` 0: to its own peer */
  uint16_t to_port;
  bool logged;             /* its end is to be told of */
  bool told;               /* its end was told of: what it carries since then isn't yet */
  int rule;                /* what is told of it: who let it, */
  uint64_t begun_ms, sent, received; /* when, and the bytes that its frames carried */
  uint64_t seen_ms;
  uint16_t next, next_inner; /* in their buckets */
  uint16_t older, newer;     /* by when it was last seen */
};

struct flows {
  struct flow list[FLOWS_MAX];
  uint16_t heads[FLOW_BUCKETS];
  uint16_t inner_heads[FLOW_BUCKETS];
  uint16_t free, oldest, newest;
  size_t count;
  uint64_t seed;
  uint64_t swept_ms, told_ms;
  /* The end of a flow that is `logged`; may be NULL. */
  void (*told)(void *context, const struct flow *flow);
  void *context;
};

void flows_init(struct flows *flows, uint64_t seed);

/* NULL: there is none. */
struct flow *flows_find(struct flows *flows, const struct flow_key *key);
struct flow *flows_find_inner(struct flows *flows, const struct flow_key *inner);

/* Adds one; an old one that has nothing to say any more makes room. NULL: all are in use. */
struct flow *flows_add(struct flows *flows, const struct flow_key *key, uint64_t now_ms);

/* Says how the stack sees a flow; that key must be free. */
void flows_divert(struct flows *flows, struct flow *flow, const struct flow_key *inner);

void flows_seen(struct flows *flows, struct flow *flow, uint64_t now_ms);
void flows_remove(struct flows *flows, struct flow *flow);

/* Tells the end of a flow, once. */
void flows_tell(struct flows *flows, struct flow *flow);

/* Tells of those that fell silent. When to come again, in ms; -1: there are none to wait for. */
int flows_step(struct flows *flows, uint64_t now_ms);

#endif
