#define _GNU_SOURCE 1
#include "filter.h"

#include "tally.h"

#include <string.h>

void filter_init(struct filter *filter, const uint8_t guest_mac[MAC_SIZE], uint64_t seed) {
  memset(filter, 0, sizeof *filter);
  memcpy(filter->guest_mac, guest_mac, MAC_SIZE);
  static const char *const TEXTS[4][2] = {
    {GUEST_V4, GUEST_V6}, {GATEWAY_V4, GATEWAY_V6}, {DNS_V4, DNS_V6}, {NET_V4, NET_V6},
  };
  for (int kind = 0; kind < 2; kind++) {
    address_parse(TEXTS[0][kind], &filter->guest[kind]);
    address_parse(TEXTS[1][kind], &filter->gateway[kind]);
    address_parse(TEXTS[2][kind], &filter->dns[kind]);
    address_parse(TEXTS[3][kind], &filter->net[kind]);
  }
  const uint8_t *mac = guest_mac;
  uint8_t link[16] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, (uint8_t)(mac[0] ^ 2), mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
  filter->guest_link = address_v6(link);
  flows_init(&filter->flows, seed);
}

void filter_free(struct filter *filter) {
  policy_free(&filter->policy);
  names_free(&filter->names);
}

void filter_publish(struct filter *filter, uint8_t protocol, uint16_t port, bool open) {
  uint8_t *byte = &filter->published[protocol == IPPROTO_UDP][port / 8], bit = (uint8_t)(1 << port % 8);
  *byte = open ? *byte | bit : *byte & (uint8_t)~bit;
}

static bool is_published(const struct filter *filter, uint8_t protocol, uint16_t port) {
  return protocol != IPPROTO_ICMP && (filter->published[protocol == IPPROTO_UDP][port / 8] >> port % 8 & 1) != 0;
}

enum group filter_group(const struct filter *filter, const struct address *address, uint64_t now_ms) {
  int kind = !address_is_v4(address);
  if (address_equal(address, &filter->gateway[kind])) return GROUP_HOST;
  /* The stack takes all of its own network for this machine. */
  if (address_within(address, &filter->net[kind], kind ? NET_V6_BITS : 96 + NET_V4_BITS)) return GROUP_INVALID;
  enum group group = address_group(address);
  if (group == GROUP_LOOPBACK || group == GROUP_INVALID) return group;
  return address_is_own(address, now_ms) ? GROUP_HOST : group;
}

static struct decision decide(const struct filter *filter, struct peer *peer, uint64_t now_ms) {
  names_of(&filter->names, &peer->address, now_ms, &peer->names);
  return policy_decide(&filter->policy, peer);
}

struct decision filter_decide(const struct filter *filter, const struct flow_key *key, const char *said, uint64_t now_ms) {
  struct peer peer = {.protocol = key->protocol, .port = key->remote_port, .address = key->remote, .said = said};
  peer.group = filter_group(filter, &key->remote, now_ms);
  return decide(filter, &peer, now_ms);
}

void filter_denied(struct filter *filter, const struct denial *denial) {
  filter->counts.denied++;
  if (filter->on_denied != NULL) filter->on_denied(filter->context, denial);
}

static enum verdict refuse(struct filter *filter, struct denial denial, uint64_t now_ms) {
  struct known_names known;
  names_of(&filter->names, &denial.key->remote, now_ms, &known);
  if (known.count > 0) denial.name = known.list[0];
  filter_denied(filter, &denial);
  filter->reply_length = packet_refuse(&filter->packet, &filter->gateway[filter->packet.v6], filter->reply);
  return filter->reply_length > 0 ? FILTER_REPLY : FILTER_DROP;
}

/* A port of the guest's, as the stack sees it, that no other conversation with the same peer has. */
static bool inner_key(struct filter *filter, const struct flow_key *key, const struct address *to, uint16_t port, struct flow_key *inner) {
  *inner = (struct flow_key){.remote = *to, .remote_port = port, .guest_port = key->guest_port, .protocol = key->protocol};
  for (unsigned tries = 0; tries < FLOWS_MAX * 2; tries++) {
    if (inner->guest_port >= 1024 && flows_find_inner(&filter->flows, inner) == NULL && flows_find(&filter->flows, inner) == NULL) return true;
    inner->guest_port++;
  }
  return false;
}

static enum verdict begin(struct filter *filter, const struct flow_key *key, bool opens, uint64_t now_ms) {
  static const struct permit FREELY = {.allow = true};
  struct packet *packet = &filter->packet;
  bool to_dns = address_equal(&packet->target, &filter->dns[packet->v6]);
  if (to_dns && packet->protocol == IPPROTO_UDP && packet->target_port == DNS_PORT) return FILTER_DNS;
  struct decision decision = {.rule = -1};
  enum group group = to_dns ? GROUP_HOST : filter_group(filter, &packet->target, now_ms);
  if (to_dns && !packet->v6 && packet->protocol == IPPROTO_TCP && packet->target_port == DNS_PORT && filter->dns_divert != 0) {
    decision = (struct decision){.allow = true, .rule = -1, .divert = filter->dns_divert};
  } else if (!to_dns) {
    struct peer peer = {.protocol = packet->protocol, .port = packet->target_port, .address = packet->target, .group = group};
    decision = decide(filter, &peer, now_ms);
    if (decision.allow && (decision.by_name || filter->gate_all) && packet->protocol == IPPROTO_TCP && decision.divert == 0) {
      decision.divert = filter->gate[packet->v6];
      decision.allow = decision.divert != 0;
    }
    /* The gateway answers echoes itself: that leads nowhere. */
    if (packet->protocol == IPPROTO_ICMP && address_equal(&packet->target, &filter->gateway[packet->v6])) decision.allow = true;
  }
  struct denial denial = {.key = key, .group = group, .rule = decision.rule};
  if (!decision.allow) return refuse(filter, denial, now_ms);
  /* What comes after the end of a conversation, or was forgotten in its middle: the stack knows it, or
   * refuses it. Not by the name that the stack has for another one. */
  if (packet->protocol == IPPROTO_TCP && !opens) {
    if (decision.divert != 0 || flows_find_inner(&filter->flows, key) != NULL) return refuse(filter, denial, now_ms);
    bool ends = packet->tcp_flags & TCP_RST;
    return ends || tally_unknown(filter, key, decision.rule, now_ms) ? FILTER_PASS : FILTER_DROP;
  }
  const struct permit *permit = filter->ask && !to_dns ? filter->permit : &FREELY;
  if (permit == NULL) return FILTER_ASK;
  if (!permit->allow) {
    denial = (struct denial){.key = key, .group = group, .rule = -1, .hook = permit->hook, .plugin = permit->plugin};
    return refuse(filter, denial, now_ms);
  }
  const struct address *to = decision.divert != 0 ? &filter->gateway[packet->v6] : &permit->to;
  uint16_t to_port = decision.divert != 0 ? decision.divert : permit->to_port;
  struct flow_key inner;
  struct flow *flow = NULL;
  /* Two conversations mustn't be the same to the stack. */
  bool free = to_port == 0 ? flows_find_inner(&filter->flows, key) == NULL : inner_key(filter, key, to, to_port, &inner);
  if (free) flow = flows_add(&filter->flows, key, now_ms);
  if (flow == NULL) {
    filter->counts.full++;
    denial.rule = -1;
    return refuse(filter, denial, now_ms);
  }
  flow->to = permit->to;
  flow->to_port = permit->to_port;
  if (to_port != 0) {
    flows_divert(&filter->flows, flow, &inner);
    filter->begun = flow;
  }
  if (to_dns) filter->counts.flows++;
  else tally_begun(filter, flow, decision.rule);
  return FILTER_PASS;
}

static enum verdict guest_flow(struct filter *filter, uint64_t now_ms) {
  struct packet *packet = &filter->packet;
  struct flow_key key = {.remote = packet->target, .remote_port = packet->target_port,
                         .guest_port = packet->source_port, .protocol = packet->protocol};
  if (packet->protocol == IPPROTO_ICMP && packet->reply) { /* nobody asks the guest */
    filter->counts.needless++;
    return FILTER_DROP;
  }
  struct flow *flow = flows_find(&filter->flows, &key);
  bool opens = packet->protocol == IPPROTO_TCP && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
  if (flow != NULL && opens && (flow->reset || flow->guest_ended)) {
    flows_remove(&filter->flows, flow);
    flow = NULL;
  }
  if (flow == NULL) {
    enum verdict verdict = begin(filter, &key, opens, now_ms);
    if (verdict != FILTER_PASS) return verdict;
    flow = flows_find(&filter->flows, &key);
    if (flow == NULL) return FILTER_PASS;
  } else {
    flows_seen(&filter->flows, flow, now_ms);
  }
  tally_guest(filter, flow, packet, now_ms);
  if (flow->diverted) {
    packet_set_target(packet, &flow->inner.remote, flow->inner.remote_port);
    packet_set_source(packet, &packet->source, flow->inner.guest_port);
  }
  bool echo = packet->v6 && packet->protocol == IPPROTO_ICMP && !address_within(&packet->target, &filter->net[1], NET_V6_BITS);
  return echo ? FILTER_ECHO : FILTER_PASS;
}

/* Whether the guest speaks for itself. While IPv6 makes sure that an address is free it has none. */
static bool is_guest(const struct filter *filter, const struct packet *packet, enum packet_kind kind) {
  static const struct address NONE = {{0}};
  if (address_equal(&packet->source, &filter->guest[packet->v6])) return true;
  if (kind == PACKET_ARP) {
    struct address none = address_v4((uint8_t[4]){0});
    return address_equal(&packet->source, &none);
  }
  if (kind != PACKET_NEIGHBOUR) return false;
  struct address about = address_v6(packet->body + 8);
  bool own = address_equal(&about, &filter->guest[1]) || address_equal(&about, &filter->guest_link);
  if (packet->body[0] == 136 && !own) return false; /* an advertisement for somebody else */
  return address_equal(&packet->source, &filter->guest_link) || (own && address_equal(&packet->source, &NONE));
}

enum verdict filter_guest(struct filter *filter, uint8_t *frame, size_t length, uint64_t now_ms) {
  struct packet *packet = &filter->packet;
  filter->begun = NULL;
  enum packet_kind kind = packet_parse(frame, length, packet);
  if (kind == PACKET_BAD) {
    filter->counts.bad++;
    return FILTER_DROP;
  }
  if (memcmp(frame + MAC_SIZE, filter->guest_mac, MAC_SIZE) != 0) {
    filter->counts.spoofed++;
    return FILTER_DROP;
  }
  if (kind == PACKET_FRAGMENT) {
    filter->counts.fragments++;
    return FILTER_DROP;
  }
  if (kind == PACKET_NEEDLESS) {
    filter->counts.needless++;
    return FILTER_DROP;
  }
  if (kind == PACKET_NEIGHBOUR && packet->body[0] == 136 && packet->body_length < 24) return FILTER_DROP;
  if (!is_guest(filter, packet, kind)) {
    /* What it sends from its link-local address is for neighbours that aren't there. */
    if (address_equal(&packet->source, &filter->guest_link)) filter->counts.needless++;
    else filter->counts.spoofed++;
    return FILTER_DROP;
  }
  return kind == PACKET_FLOW ? guest_flow(filter, now_ms) : FILTER_PASS;
}

/* A conversation that begins outside: whether it may come to the guest. */
static enum verdict begin_inbound(struct filter *filter, const struct packet *packet, const struct flow_key *key, uint64_t now_ms) {
  /* The stack's UDP sockets hear whoever writes to them: only answers, and what is published. */
  if (!is_published(filter, packet->protocol, packet->target_port)) {
    filter->counts.unasked++;
    return FILTER_DROP;
  }
  enum group group = filter_group(filter, &packet->source, now_ms);
  struct peer peer = {.inbound = true, .protocol = packet->protocol, .port = packet->target_port, .address = packet->source, .group = group};
  struct decision decision = policy_decide(&filter->policy, &peer);
  if (!decision.allow) {
    filter_denied(filter, &(struct denial){.key = key, .group = group, .rule = decision.rule});
    if (packet->protocol != IPPROTO_TCP) return FILTER_DROP;
    filter->reply_length = packet_refuse(packet, &filter->guest[packet->v6], filter->reply);
    return filter->reply_length > 0 ? FILTER_REPLY : FILTER_DROP;
  }
  struct flow *flow = flows_add(&filter->flows, key, now_ms);
  if (flow == NULL) {
    filter->counts.full++;
    return FILTER_DROP;
  }
  flow->inbound = true;
  tally_begun(filter, flow, decision.rule);
  return FILTER_PASS;
}

enum verdict filter_host(struct filter *filter, uint8_t *frame, size_t length, uint64_t now_ms) {
  struct packet packet;
  enum packet_kind kind = packet_parse(frame, length, &packet);
  if (kind == PACKET_BAD || kind == PACKET_FRAGMENT) {
    filter->counts.bad++;
    return FILTER_DROP;
  }
  /* The guest's addresses are what they are: no router advertises others. */
  if (kind == PACKET_NEEDLESS) return packet.v6 && packet.body_length > 0 && packet.body[0] == 134 ? FILTER_DROP : FILTER_PASS;
  if (kind != PACKET_FLOW) return FILTER_PASS;
  struct flow_key key = {.remote = packet.source, .remote_port = packet.source_port,
                         .guest_port = packet.target_port, .protocol = packet.protocol};
  if (packet.protocol == IPPROTO_ICMP) key.guest_port = packet.source_port, key.remote_port = 0;
  struct flow *flow = flows_find(&filter->flows, &key);
  if (flow == NULL) {
    flow = flows_find_inner(&filter->flows, &key);
    if (flow != NULL && !flow->diverted) flow = NULL;
  }
  bool opens = packet.protocol == IPPROTO_TCP && (packet.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
  if (flow == NULL) {
    if (packet.protocol == IPPROTO_TCP && !opens) return FILTER_PASS;
    enum verdict verdict = begin_inbound(filter, &packet, &key, now_ms);
    if (verdict != FILTER_PASS) return verdict;
    flow = flows_find(&filter->flows, &key);
    if (flow == NULL) return FILTER_DROP;
  } else if (flow->inbound && opens) {
    flow->guest_ended = flow->host_ended = flow->reset = false; /* the same port again */
  }
  flows_seen(&filter->flows, flow, now_ms);
  tally_host(filter, flow, &packet, now_ms);
  if (flow->diverted) {
    packet_set_source(&packet, &flow->key.remote, flow->key.remote_port);
    packet_set_target(&packet, &packet.target, flow->key.guest_port);
  }
  return FILTER_PASS;
}
