/* Who may be talked to: ordered rules, of which the first that fits counts, and a default. */
#ifndef HUTCH_NET_POLICY_H
#define HUTCH_NET_POLICY_H

#include "address.h"

enum { POLICY_MAX_RULES = 4096 };

enum policy_mode { POLICY_NAT, POLICY_OPEN };

struct rule {
  bool allow;
  uint8_t protocol;      /* IPPROTO_TCP, _UDP, _ICMP; 0: any */
  bool by_group;
  enum group group;
  struct address network;
  unsigned bits;         /* of 128; 0 without by_group: anything */
  uint16_t first, last;  /* ports of the other side; echoes have port 0 and fit any */
  uint16_t divert;       /* goes to this port of the host's loopback instead; 0: it doesn't */
};

struct policy {
  enum policy_mode mode;
  struct rule *rules;
  size_t count;
};

struct decision {
  bool allow;
  int rule;         /* which one said so; -1: the default */
  uint16_t divert;
};

/* What stands for a conversation that is about to begin. */
struct decision policy_decide(const struct policy *policy, uint8_t protocol, const struct address *remote,
                              uint16_t port, enum group group);

/* Replaces all rules by those in `text`: `allow|deny PROTOCOL TARGET PORTS [divert PORT]`, with ";"
 * between them. PROTOCOL is any, tcp, udp or icmp; TARGET any, a group's name, an address or
 * ADDRESS/BITS; PORTS any, N or N-M. False: one can't be read, `why` says which, and all is as before. */
bool policy_read(struct policy *policy, char *text, char why[128]);

void policy_free(struct policy *policy);

#endif
