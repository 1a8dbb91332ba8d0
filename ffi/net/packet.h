/* Ethernet frames of one guest: read with strict lengths, changed, and answered. Knows nothing of
 * what is allowed. */
#ifndef HUTCH_NET_PACKET_H
#define HUTCH_NET_PACKET_H

#include "address.h"

enum {
  MAC_SIZE = 6,
  ETHERNET = 14,       /* bytes of an Ethernet header */
  FRAME_MAX = 65536 + ETHERNET,
  REPLY_MAX = 1400,    /* the longest that packet_refuse makes */
};

enum tcp_flag { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

enum packet_kind {
  PACKET_BAD,        /* isn't what it says to be */
  PACKET_FRAGMENT,
  PACKET_NEEDLESS,   /* well-formed and of no use here: multicast listeners, other protocols */
  PACKET_ARP,
  PACKET_NEIGHBOUR,  /* IPv6's ARP */
  PACKET_FLOW,       /* TCP, UDP, or an echo request or reply */
};

struct packet {
  uint8_t *frame;
  size_t length; /* without padding behind it */
  bool v6;
  uint8_t protocol; /* IPPROTO_*; both kinds of echo are IPPROTO_ICMP */
  uint8_t *ip;
  uint8_t *body; /* of the protocol, header included */
  size_t body_length;
  struct address source, target;
  uint16_t source_port, target_port; /* of an echo: its identifier, and 0 */
  uint8_t tcp_flags;
  bool reply; /* an echo reply */
};

/* Reads a frame; the rest of `packet` counts for PACKET_FLOW alone, source and target for all but
 * PACKET_BAD and PACKET_FRAGMENT. */
enum packet_kind packet_parse(uint8_t *frame, size_t length, struct packet *packet);

/* Puts another address and port in place of a side's, and mends the checksums. Same kind of address. */
void packet_set_source(struct packet *packet, const struct address *address, uint16_t port);
void packet_set_target(struct packet *packet, const struct address *address, uint16_t port);

/* Makes the answer to a packet that may not go on: a reset for TCP, "prohibited" for the rest, in the
 * name of `gateway`. The length of `reply` (REPLY_MAX bytes), 0 for what gets none. */
size_t packet_refuse(const struct packet *packet, const struct address *gateway, uint8_t *reply);

/* Makes a UDP packet that answers another one. 0: too long for `size`. */
size_t packet_answer(const struct packet *question, const uint8_t *data, size_t length, uint8_t *reply, size_t size);

/* Makes the IPv6 reply to an echo request: `data` is its number and what is behind that. 0: too long. */
size_t packet_echo(const struct packet *request, const uint8_t *data, size_t length, uint8_t *reply, size_t size);

/* How many bytes it carries behind its protocol's header. */
size_t packet_data(const struct packet *packet);

/* Whether the checksums are right; for tests. */
bool packet_sums(const struct packet *packet);

#endif
