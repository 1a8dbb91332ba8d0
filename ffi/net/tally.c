#include "tally.h"

void tally_begun(struct filter *filter, struct flow *flow, int rule) {
  filter->counts.flows++;
  flow->rule = rule;
  if (!filter->log) return;
  flow->logged = true;
  if (filter->on_begun != NULL) filter->on_begun(filter->context, flow);
}

/* It isn't over, whatever was told of it: told of as one more. */
static void goes_on(struct filter *filter, struct flow *flow, uint64_t now_ms) {
  flow->reset = false;
  if (!flow->told) return;
  flow->told = false;
  flow->received = 0; /* only what was said twice */
  flow->begun_ms = now_ms;
  tally_begun(filter, flow, flow->rule);
}

bool tally_unknown(struct filter *filter, const struct flow_key *key, int rule, uint64_t now_ms) {
  struct flow *flow = flows_add(&filter->flows, key, now_ms);
  if (flow == NULL) {
    filter->counts.full++;
    return false;
  }
  flow->told = flow->reset = true;
  flow->rule = rule;
  return true;
}

/* Ends are told of once both sides have said so. What keeps a silent connection alive carries nothing. */
static void count(struct filter *filter, struct flow *flow, const struct packet *packet, uint64_t *bytes,
                  uint64_t now_ms) {
  size_t data = packet_data(packet);
  if (data > 0) filter->active_ms = now_ms;
  if (data > 0 && packet->protocol != IPPROTO_TCP) goes_on(filter, flow, now_ms); /* it was silent, no more */
  *bytes += data;
  if (flow->reset || (flow->guest_ended && flow->host_ended)) flows_tell(&filter->flows, flow);
}

/* The stack takes no end whose sum is wrong, or which is out of turn. */
void tally_guest(struct filter *filter, struct flow *flow, const struct packet *packet, uint64_t now_ms) {
  if (flow->inbound) flow->answered = true;
  if (packet->tcp_flags & TCP_FIN) flow->guest_ended = true;
  else if (flow->told && packet_data(packet) > 0) flow->guest_ended = false;
  if (packet->tcp_flags & TCP_RST) flow->reset = true;
  count(filter, flow, packet, &flow->sent, now_ms);
}

/* To what comes after an end the stack answers by a reset, and by anything else where it knows of no end. */
static void hear_stack(struct filter *filter, struct flow *flow, uint8_t flags, uint64_t now_ms) {
  if (flags & TCP_RST) {
    flow->reset = true;
    if (flow->told) flow->sent = 0; /* it didn't take that */
  } else if (flow->reset || (flow->told && (flow->sent > 0 || flags & TCP_SYN))) {
    goes_on(filter, flow, now_ms);
  }
  if (flags & TCP_FIN) flow->host_ended = true;
}

void tally_host(struct filter *filter, struct flow *flow, const struct packet *packet, uint64_t now_ms) {
  if (!flow->inbound) flow->answered = true;
  if (packet->protocol == IPPROTO_TCP) hear_stack(filter, flow, packet->tcp_flags, now_ms);
  count(filter, flow, packet, &flow->received, now_ms);
}
