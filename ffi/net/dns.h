/* The box's name server: asks this machine's resolvers in its stead. Every question and every answer,
 * by UDP or TCP, goes through one place each, see dns.c. */
#ifndef HUTCH_NET_DNS_H
#define HUTCH_NET_DNS_H

#include "filter.h"
#include "wire.h"

struct dns_counts {
  uint64_t questions, answers, failures;
};

/* Opens the port for questions by TCP, which it tells the filter. 0, or a negative errno. */
int dns_init(struct filter *filter, struct wire *wire);

/* A question in a UDP packet of the guest's. */
void dns_ask(const struct packet *packet);

/* Gives up what takes too long. When to come again, in ms; -1: when something was asked. */
int dns_step(void);

extern struct dns_counts dns_counts;

#endif
