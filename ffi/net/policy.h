/* Who may be talked to: ordered rules, of which the first that fits counts, and a default. */
#ifndef HUTCH_NET_POLICY_H
#define HUTCH_NET_POLICY_H

#include "names.h"

enum { POLICY_MAX_RULES = 4096 };

enum policy_mode { POLICY_NAT, POLICY_OPEN };

struct rule {
  bool allow;
  bool inbound;          /* about what comes to published ports */
  uint8_t protocol;      /* IPPROTO_TCP, _UDP, _ICMP; 0: any */
  bool by_group;
  enum group group;
  char *domain;          /* a name or `*.DOMAIN`; NULL: by group or network */
  struct address network;
  unsigned bits;         /* of 128; 0 without by_group: anything */
  uint16_t first, last;  /* ports of the other side, inbound the guest's; echoes fit any */
  uint16_t divert;       /* goes to this port of the host's loopback instead; 0: it doesn't */
};

struct policy {
  enum policy_mode mode;
  struct rule *rules;
  size_t count;
};

/* A conversation that is about to begin. */
struct peer {
  bool inbound;
  uint8_t protocol;
  uint16_t port;
  struct address address;
  enum group group;
  struct known_names names; /* what this box was told of the address */
  const char *said;         /* the name in its first bytes; "": they have none; NULL: not read, or of no such kind */
};

struct decision {
  bool allow;
  bool by_name;     /* a rule for names had a word: the first bytes may change it */
  int rule;         /* which one said so; -1: the default */
  uint16_t divert;
};

struct decision policy_decide(const struct policy *policy, const struct peer *peer);

/* Whether the mode lets out what leads to such a place, where no rule says. */
bool policy_default(const struct policy *policy, enum group group);

/* Whether a name may be asked for: its addresses, or any of a group, might be reached. `rule`: which
 * one says no. A rule for single addresses alone is no reason to ask for names. */
bool policy_may_ask(const struct policy *policy, const char *name, int *rule);

/* Whether a rule has the name for its target. */
bool policy_knows(const struct policy *policy, const char *name);

/* Whether an address may be reached by itself, on some port, whatever its name. */
bool policy_reaches(const struct policy *policy, const struct address *address, enum group group);

/* Replaces all rules by those in `text`: `allow|deny [in|out] PROTOCOL TARGET PORTS [divert PORT]`, with
 * ";" between them. PROTOCOL is any, tcp, udp or icmp; TARGET any, a group's name, an address,
 * ADDRESS/BITS, a name or *.NAME (none of both inbound); PORTS any, N or N-M. False: one can't be read,
 * `why` says which, and all is as before. */
bool policy_read(struct policy *policy, char *text, char why[128]);

void policy_free(struct policy *policy);

#endif
