/* Between the guest and the network stack: each frame of either side is looked at here once. The
 * guest's are hostile; those of the stack are well-formed, with contents from anywhere. */
#ifndef HUTCH_NET_FILTER_H
#define HUTCH_NET_FILTER_H

#include "flows.h"
#include "packet.h"
#include "policy.h"

/* The addresses of a box's own little network, alike for all boxes. */
#define NET_V4 "10.213.77.0"
#define NET_V4_BITS 24
#define NET_V6 "fd5a:7c1e:68b4::"
#define NET_V6_BITS 64
#define GATEWAY_V4 "10.213.77.1"
#define GATEWAY_V6 "fd5a:7c1e:68b4::1"
#define GUEST_V4 "10.213.77.2"
#define GUEST_V6 "fd5a:7c1e:68b4::2"
#define DNS_V4 "10.213.77.3"
#define DNS_V6 "fd5a:7c1e:68b4::3"

enum { DNS_PORT = 53 };

enum verdict {
  FILTER_DROP,
  FILTER_PASS,  /* to the other side; it may have been changed */
  FILTER_REPLY, /* `reply` goes back to whoever sent it */
  FILTER_DNS,   /* a question for the name server, see `packet` */
  FILTER_ECHO,  /* an echo request by IPv6, see `packet`: the stack sends none on */
  FILTER_ASK,   /* it begins something that `permit` has no answer about yet */
};

struct filter_counts {
  uint64_t bad, spoofed, fragments, needless, denied, full, flows, unasked;
};

/* Something that may not be reached. */
struct denial {
  const struct flow_key *key; /* protocol 0: a question for a name */
  enum group group;
  int rule;           /* -1: no rule says so */
  const char *name;   /* what it was about; may be NULL */
  const char *hook;   /* how a plugin's hook said so: `refused`, `failed`, `late`, `gone`; NULL: none did */
  const char *plugin; /* whose hook; may be NULL */
};

/* What a hook says of something that is about to begin. */
struct permit {
  bool allow;
  const char *hook, *plugin; /* of a denial */
  struct address to;         /* where it goes in place of its peer; `to_port` 0: it doesn't */
  uint16_t to_port;
};

struct filter {
  struct address guest[2], guest_link, gateway[2], dns[2], net[2]; /* IPv4, IPv6 */
  uint8_t guest_mac[MAC_SIZE];
  struct policy policy;
  struct flows flows;
  struct names names;               /* what rules for names go by */
  uint16_t dns_divert;              /* port of the host's loopback for questions by TCP; 0: none */
  bool gate_all;                    /* all TCP goes through the gate, not only what rules for names decide */
  uint16_t gate[2];                 /* the same for connections whose first bytes tell a name: IPv4, IPv6 */
  uint8_t published[2][65536 / 8];  /* the guest's ports that can be reached from outside: TCP, UDP */
  struct filter_counts counts;
  uint64_t active_ms;               /* when a conversation last carried something, or a name was asked for; 0: never */
  struct packet packet;             /* the last one */
  uint8_t reply[REPLY_MAX];
  size_t reply_length;
  struct flow *begun;               /* the flow that the last packet began, if it is diverted */
  bool ask;                         /* each conversation of the guest's is asked about before it begins */
  const struct permit *permit;      /* the answer for the frame that is looked at; NULL: there is none */
  bool log;                         /* conversations are told of: flows.told, and this when they begin */
  void (*on_begun)(void *context, const struct flow *flow); /* may be NULL */
  void (*on_denied)(void *context, const struct denial *denial); /* may be NULL */
  void *context;
};

void filter_init(struct filter *filter, const uint8_t guest_mac[MAC_SIZE], uint64_t seed);
void filter_free(struct filter *filter);

/* Opens or closes a port of the guest to what comes from outside. */
void filter_publish(struct filter *filter, uint8_t protocol, uint16_t port, bool open);

/* Where an address leads to: GROUP_HOST too. */
enum group filter_group(const struct filter *filter, const struct address *address, uint64_t now_ms);

/* What the policy says of a conversation of the guest's; `said` as in struct peer. */
struct decision filter_decide(const struct filter *filter, const struct flow_key *key, const char *said, uint64_t now_ms);

/* Counts a denial, and tells of it. */
void filter_denied(struct filter *filter, const struct denial *denial);

/* What to do with a frame of the guest's. */
enum verdict filter_guest(struct filter *filter, uint8_t *frame, size_t length, uint64_t now_ms);

/* Whether a frame of the stack's may go to the guest; a reply is for the stack. */
enum verdict filter_host(struct filter *filter, uint8_t *frame, size_t length, uint64_t now_ms);

#endif
