#define _GNU_SOURCE 1
#include "packet.h"

#include <string.h>

enum {
  TYPE_IPV4 = 0x0800, TYPE_ARP = 0x0806, TYPE_IPV6 = 0x86dd,
  IPV4_HEADER = 20, IPV6_HEADER = 40, UDP_HEADER = 8, TCP_HEADER = 20, ICMP_HEADER = 8, ARP_SIZE = 28,
  ECHO_REPLY = 0, ECHO_REQUEST = 8, ECHO6_REQUEST = 128, ECHO6_REPLY = 129,
  SOLICITATION = 135, ADVERTISEMENT = 136, NEIGHBOUR_SIZE = 24,
};

static uint16_t get16(const uint8_t *at) {
  return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at) {
  return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value) {
  put16(at, (uint16_t)(value >> 16));
  put16(at + 2, (uint16_t)value);
}

/* ---- reading ---------------------------------------------------------------------------------- */

static enum packet_kind parse_arp(const uint8_t *frame, size_t length, struct packet *packet) {
  static const uint8_t HEAD[6] = {0, 1, 8, 0, 6, 4};
  const uint8_t *arp = frame + ETHERNET;
  if (length < ETHERNET + ARP_SIZE || memcmp(arp, HEAD, sizeof HEAD) != 0) return PACKET_BAD;
  if (memcmp(arp + 8, frame + MAC_SIZE, MAC_SIZE) != 0) return PACKET_BAD; /* speaks for somebody else */
  packet->length = ETHERNET + ARP_SIZE;
  packet->source = address_v4(arp + 14);
  packet->target = address_v4(arp + 24);
  return PACKET_ARP;
}

static enum packet_kind parse_icmp6(struct packet *packet) {
  const uint8_t *body = packet->body;
  if (body[0] == SOLICITATION || body[0] == ADVERTISEMENT) {
    return packet->body_length < NEIGHBOUR_SIZE ? PACKET_BAD : PACKET_NEIGHBOUR;
  }
  if ((body[0] != ECHO6_REQUEST && body[0] != ECHO6_REPLY) || body[1] != 0) return PACKET_NEEDLESS;
  packet->reply = body[0] == ECHO6_REPLY;
  return PACKET_FLOW;
}

static enum packet_kind parse_icmp(struct packet *packet) {
  const uint8_t *body = packet->body;
  if (packet->body_length < ICMP_HEADER) return PACKET_BAD;
  packet->source_port = get16(body + 4);
  if (packet->v6) return parse_icmp6(packet);
  if ((body[0] != ECHO_REQUEST && body[0] != ECHO_REPLY) || body[1] != 0) return PACKET_NEEDLESS;
  packet->reply = body[0] == ECHO_REPLY;
  return PACKET_FLOW;
}

static enum packet_kind parse_body(struct packet *packet, uint8_t protocol) {
  const uint8_t *body = packet->body;
  size_t length = packet->body_length;
  packet->protocol = protocol;
  if (protocol == (packet->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
    packet->protocol = IPPROTO_ICMP;
    return parse_icmp(packet);
  }
  if (protocol == IPPROTO_TCP) {
    size_t header = length < TCP_HEADER ? 0 : (size_t)(body[12] >> 4) * 4;
    if (header < TCP_HEADER || header > length) return PACKET_BAD;
    packet->tcp_flags = body[13];
  } else if (protocol == IPPROTO_UDP) {
    if (length < UDP_HEADER || get16(body + 4) != length) return PACKET_BAD;
  } else {
    return PACKET_NEEDLESS;
  }
  packet->source_port = get16(body);
  packet->target_port = get16(body + 2);
  return PACKET_FLOW;
}

static enum packet_kind parse_v4(struct packet *packet, size_t length) {
  uint8_t *ip = packet->ip;
  if (length < IPV4_HEADER || ip[0] >> 4 != 4) return PACKET_BAD;
  size_t header = (size_t)(ip[0] & 15) * 4, total = get16(ip + 2);
  if (header < IPV4_HEADER || total < header || total > length) return PACKET_BAD;
  packet->length = ETHERNET + total;
  packet->source = address_v4(ip + 12);
  packet->target = address_v4(ip + 16);
  if ((get16(ip + 6) & 0x3fff) != 0) return PACKET_FRAGMENT;
  if (header != IPV4_HEADER) return PACKET_NEEDLESS; /* options: routes that the sender chooses, and the like */
  packet->body = ip + header;
  packet->body_length = total - header;
  return parse_body(packet, ip[9]);
}

static enum packet_kind parse_v6(struct packet *packet, size_t length) {
  uint8_t *ip = packet->ip;
  if (length < IPV6_HEADER || ip[0] >> 4 != 6) return PACKET_BAD;
  size_t total = IPV6_HEADER + (size_t)get16(ip + 4);
  if (total > length) return PACKET_BAD;
  packet->v6 = true;
  packet->length = ETHERNET + total;
  packet->source = address_v6(ip + 8);
  packet->target = address_v6(ip + 24);
  /* Never on a wire; it would pass for IPv4 here. */
  if (address_is_v4(&packet->source) || address_is_v4(&packet->target)) return PACKET_BAD;
  if (ip[6] == IPPROTO_FRAGMENT) return PACKET_FRAGMENT;
  packet->body = ip + IPV6_HEADER;
  packet->body_length = total - IPV6_HEADER;
  return parse_body(packet, ip[6]); /* other headers in between make it needless */
}

enum packet_kind packet_parse(uint8_t *frame, size_t length, struct packet *packet) {
  *packet = (struct packet){.frame = frame, .length = length};
  if (length < ETHERNET || length > FRAME_MAX) return PACKET_BAD;
  packet->ip = frame + ETHERNET;
  switch (get16(frame + 12)) {
    case TYPE_ARP: return parse_arp(frame, length, packet);
    case TYPE_IPV4: return parse_v4(packet, length - ETHERNET);
    case TYPE_IPV6: return parse_v6(packet, length - ETHERNET);
    default: return PACKET_NEEDLESS;
  }
}

/* ---- checksums -------------------------------------------------------------------------------- */

static uint32_t sum(uint32_t before, const uint8_t *bytes, size_t length) {
  uint64_t total = before;
  for (; length >= 2; bytes += 2, length -= 2) total += get16(bytes);
  if (length == 1) total += (uint32_t)bytes[0] << 8;
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return (uint32_t)total;
}

static uint16_t body_sum(const struct packet *packet, uint8_t protocol) {
  size_t width = packet->v6 ? 16 : 4;
  uint32_t total = 0;
  if (packet->v6 || protocol != IPPROTO_ICMP) {
    total = sum(0, packet->ip + (packet->v6 ? 8 : 12), 2 * width);
    total += protocol + (uint32_t)packet->body_length;
  }
  return (uint16_t)~sum(total, packet->body, packet->body_length);
}

static uint8_t *sum_of(const struct packet *packet) {
  if (packet->protocol == IPPROTO_TCP) return packet->body + 16;
  return packet->body + (packet->protocol == IPPROTO_UDP ? 6 : 2);
}

static uint8_t wire_protocol(const struct packet *packet) {
  return packet->protocol == IPPROTO_ICMP && packet->v6 ? IPPROTO_ICMPV6 : packet->protocol;
}

bool packet_sums(const struct packet *packet) {
  if (!packet->v6 && sum(0, packet->ip, IPV4_HEADER) != 0xffff) return false;
  if (packet->protocol == IPPROTO_UDP && !packet->v6 && get16(sum_of(packet)) == 0) return true;
  return body_sum(packet, wire_protocol(packet)) == 0;
}

static void seal(struct packet *packet) {
  if (!packet->v6) {
    put16(packet->ip + 10, 0);
    put16(packet->ip + 10, (uint16_t)~sum(0, packet->ip, IPV4_HEADER));
  }
  put16(sum_of(packet), 0);
  uint16_t value = body_sum(packet, wire_protocol(packet));
  put16(sum_of(packet), value == 0 && packet->protocol == IPPROTO_UDP ? 0xffff : value);
}

/* ---- changing --------------------------------------------------------------------------------- */

/* Puts `length` bytes (an even number) in place of others, and says so to the sum: a sum of what goes
 * on from a wrong one stays wrong. */
static void replace(uint8_t *at, const uint8_t *bytes, size_t length, uint8_t *check) {
  uint32_t total = (uint16_t)~get16(check);
  for (size_t i = 0; i < length; i += 2) total += (uint32_t)(uint16_t)~get16(at + i) + get16(bytes + i);
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  put16(check, (uint16_t)~total);
  memcpy(at, bytes, length);
}

static void set(struct packet *packet, bool target, const struct address *address, uint16_t port) {
  size_t width = packet->v6 ? 16 : 4;
  const uint8_t *value = packet->v6 ? address->bytes : address->bytes + 12;
  uint8_t *at = packet->ip + (packet->v6 ? 8 : 12) + (target ? width : 0), wanted[2], none[2] = {0};
  put16(wanted, port);
  /* UDP over IPv4 may have no sum at all. */
  bool unsummed = packet->protocol == IPPROTO_UDP && !packet->v6 && get16(sum_of(packet)) == 0;
  uint8_t *check = unsummed ? none : sum_of(packet);
  if (!packet->v6) {
    uint8_t before[4];
    memcpy(before, at, 4);
    replace(at, value, 4, packet->ip + 10);
    memcpy(at, before, 4);
  }
  replace(at, value, width, check);
  replace(packet->body + (target ? 2 : 0), wanted, 2, check);
  if (!unsummed && packet->protocol == IPPROTO_UDP && get16(check) == 0) put16(check, 0xffff);
}

void packet_set_source(struct packet *packet, const struct address *address, uint16_t port) {
  set(packet, false, address, port);
  packet->source = *address;
  packet->source_port = port;
}

void packet_set_target(struct packet *packet, const struct address *address, uint16_t port) {
  set(packet, true, address, port);
  packet->target = *address;
  packet->target_port = port;
}

/* ---- answering -------------------------------------------------------------------------------- */

/* Headers of a frame that goes back, with room for `body` bytes after them. */
static struct packet back(const struct packet *packet, const struct address *source, uint8_t protocol, size_t body, uint8_t *reply) {
  struct packet made = {.frame = reply, .v6 = packet->v6, .protocol = protocol, .ip = reply + ETHERNET, .body_length = body};
  memcpy(reply, packet->frame + MAC_SIZE, MAC_SIZE);
  memcpy(reply + MAC_SIZE, packet->frame, MAC_SIZE);
  memcpy(reply + 12, packet->frame + 12, 2);
  /* Never in the name of a group. */
  if (reply[MAC_SIZE] & 1) memcpy(reply + MAC_SIZE, (uint8_t[]){0x52, 0x55, 0, 0, 0, 1}, MAC_SIZE);
  size_t header = made.v6 ? IPV6_HEADER : IPV4_HEADER;
  made.body = made.ip + header;
  made.length = ETHERNET + header + body;
  memset(made.ip, 0, header + (body < TCP_HEADER ? body : TCP_HEADER));
  made.ip[0] = made.v6 ? 0x60 : 0x45;
  if (made.v6) {
    put16(made.ip + 4, (uint16_t)body);
    made.ip[6] = wire_protocol(&made);
    made.ip[7] = 64;
    memcpy(made.ip + 8, source->bytes, 16);
    memcpy(made.ip + 24, packet->source.bytes, 16);
  } else {
    put16(made.ip + 2, (uint16_t)(IPV4_HEADER + body));
    put16(made.ip + 6, 0x4000);
    made.ip[8] = 64;
    made.ip[9] = protocol;
    memcpy(made.ip + 12, source->bytes + 12, 4);
    memcpy(made.ip + 16, packet->source.bytes + 12, 4);
  }
  return made;
}

static size_t reset(const struct packet *packet, uint8_t *reply) {
  if (packet->tcp_flags & TCP_RST) return 0;
  struct packet made = back(packet, &packet->target, IPPROTO_TCP, TCP_HEADER, reply);
  memcpy(made.body, packet->body + 2, 2);
  memcpy(made.body + 2, packet->body, 2);
  made.body[12] = TCP_HEADER / 4 << 4;
  if (packet->tcp_flags & TCP_ACK) {
    memcpy(made.body + 4, packet->body + 8, 4);
    made.body[13] = TCP_RST;
  } else {
    uint32_t data = (uint32_t)(packet->body_length - (size_t)(packet->body[12] >> 4) * 4);
    uint32_t more = data + ((packet->tcp_flags & TCP_SYN) != 0) + ((packet->tcp_flags & TCP_FIN) != 0);
    put32(made.body + 8, get32(packet->body + 4) + more);
    made.body[13] = TCP_RST | TCP_ACK;
  }
  seal(&made);
  return made.length;
}

size_t packet_refuse(const struct packet *packet, const struct address *gateway, uint8_t *reply) {
  if (packet->protocol == IPPROTO_TCP) return reset(packet, reply);
  size_t header = packet->v6 ? IPV6_HEADER : IPV4_HEADER;
  /* As much of it as is usual: IPv4 8 bytes of the body, IPv6 what a smallest packet has room for. */
  size_t most = packet->v6 ? 1280 - IPV6_HEADER - ICMP_HEADER : (size_t)IPV4_HEADER + 8;
  size_t quoted = header + packet->body_length < most ? header + packet->body_length : most;
  struct packet made = back(packet, gateway, IPPROTO_ICMP, ICMP_HEADER + quoted, reply);
  made.body[0] = packet->v6 ? 1 : 3;  /* unreachable */
  made.body[1] = packet->v6 ? 1 : 13; /* prohibited */
  memcpy(made.body + ICMP_HEADER, packet->ip, quoted);
  seal(&made);
  return made.length;
}

size_t packet_answer(const struct packet *question, const uint8_t *data, size_t length, uint8_t *reply, size_t size) {
  size_t header = question->v6 ? IPV6_HEADER : IPV4_HEADER;
  if (length > 65535 - UDP_HEADER - header || ETHERNET + header + UDP_HEADER + length > size) return 0;
  struct packet made = back(question, &question->target, IPPROTO_UDP, UDP_HEADER + length, reply);
  put16(made.body, question->target_port);
  put16(made.body + 2, question->source_port);
  put16(made.body + 4, (uint16_t)(UDP_HEADER + length));
  memcpy(made.body + UDP_HEADER, data, length);
  seal(&made);
  return made.length;
}

size_t packet_echo(const struct packet *request, const uint8_t *data, size_t length, uint8_t *reply, size_t size) {
  size_t before = ICMP_HEADER - 2;
  if (before + length > UINT16_MAX || ETHERNET + IPV6_HEADER + before + length > size) return 0;
  struct packet made = back(request, &request->target, IPPROTO_ICMP, before + length, reply);
  made.body[0] = 129;
  put16(made.body + 4, request->source_port);
  memcpy(made.body + before, data, length);
  seal(&made);
  return made.length;
}

size_t packet_data(const struct packet *packet) {
  size_t header = packet->protocol == IPPROTO_TCP ? (size_t)(packet->body[12] >> 4) * 4 : UDP_HEADER;
  return header < packet->body_length ? packet->body_length - header : 0;
}
