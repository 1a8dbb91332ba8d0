/* A connection at the gate, which gate.c begins and carries, and look.c looks at. */
#ifndef HUTCH_NET_GATED_H
#define HUTCH_NET_GATED_H

#include "filter.h"
#include "requests.h"

struct gated {
  struct filter *filter;
  struct side guest, server;
  struct flow_key key; /* as the guest sees it */
  struct address to;   /* where it goes: a hook may have changed it */
  uint16_t to_port;
  unsigned listed;     /* watches that the loop has */
  bool open;           /* what the guest says goes on */
  bool asks;           /* by `requests`, each of which is looked at */
  struct requests requests;
  uint64_t until_ms;   /* for the first bytes to be whole; 0: there are none yet */
  struct gated *next;
};

/* Begins a connection to a server; -1: it can't. */
int gate_dial(const struct address *to, uint16_t port);

/* Makes a connection the one to its server, in place of what it has. */
void gate_set_server(struct gated *gated, int fd);

#endif
