#include "flows.h"

#include <netinet/in.h>
#include <string.h>

/* How long a conversation may be silent before it may be forgotten for another one, in ms. A longer
 * silence on both sides of TCP is possible and rare; one that nobody answered comes back when its
 * beginning is repeated. UDP's sockets end after four minutes. */
enum { TCP_IDLE_MS = 600000, TCP_ENDED_MS = 2000, TCP_UNANSWERED_MS = 5000, UDP_IDLE_MS = 20000, SWEEP_MS = 100, TELL_MS = 5000 };

void flows_init(struct flows *flows, uint64_t seed) {
  memset(flows->heads, 0xff, sizeof flows->heads);
  memset(flows->inner_heads, 0xff, sizeof flows->inner_heads);
  for (size_t i = 0; i < FLOWS_MAX; i++) {
    flows->list[i] = (struct flow){.next = (uint16_t)(i + 1 < FLOWS_MAX ? i + 1 : FLOW_NONE)};
  }
  flows->free = 0;
  flows->oldest = flows->newest = FLOW_NONE;
  flows->count = 0;
  flows->swept_ms = 0;
  flows->seed = seed;
}

/* Seeded, so that no guest can choose keys that meet in one bucket. */
static size_t bucket(const struct flows *flows, const struct flow_key *key) {
  uint64_t words[3];
  memcpy(words, key->remote.bytes, 16);
  words[2] = (uint64_t)key->remote_port << 32 | (uint64_t)key->guest_port << 8 | key->protocol;
  uint64_t hash = flows->seed;
  for (size_t i = 0; i < 3; i++) {
    hash = (hash ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 29;
    hash *= UINT64_C(0xbf58476d1ce4e5b9) ^ flows->seed << 1;
    hash ^= hash >> 32;
  }
  return hash % FLOW_BUCKETS;
}

static bool same(const struct flow_key *a, const struct flow_key *b) {
  return a->remote_port == b->remote_port && a->guest_port == b->guest_port && a->protocol == b->protocol &&
         address_equal(&a->remote, &b->remote);
}

struct flow *flows_find(struct flows *flows, const struct flow_key *key) {
  uint16_t at = flows->heads[bucket(flows, key)];
  while (at != FLOW_NONE && !same(&flows->list[at].key, key)) at = flows->list[at].next;
  return at == FLOW_NONE ? NULL : &flows->list[at];
}

struct flow *flows_find_inner(struct flows *flows, const struct flow_key *inner) {
  uint16_t at = flows->inner_heads[bucket(flows, inner)];
  while (at != FLOW_NONE && !same(&flows->list[at].inner, inner)) at = flows->list[at].next_inner;
  return at == FLOW_NONE ? NULL : &flows->list[at];
}

static void age_unlink(struct flows *flows, struct flow *flow) {
  if (flow->older == FLOW_NONE) flows->oldest = flow->newer;
  else flows->list[flow->older].newer = flow->newer;
  if (flow->newer == FLOW_NONE) flows->newest = flow->older;
  else flows->list[flow->newer].older = flow->older;
}

static void age_link(struct flows *flows, struct flow *flow) {
  uint16_t index = (uint16_t)(flow - flows->list);
  flow->older = flows->newest;
  flow->newer = FLOW_NONE;
  if (flows->newest == FLOW_NONE) flows->oldest = index;
  else flows->list[flows->newest].newer = index;
  flows->newest = index;
}

static bool is_over(const struct flow *flow, uint64_t now_ms) {
  uint64_t silent = now_ms - flow->seen_ms;
  if (flow->key.protocol != IPPROTO_TCP) return silent > UDP_IDLE_MS;
  if (flow->reset || (flow->guest_ended && flow->host_ended)) return silent > TCP_ENDED_MS;
  if (!flow->answered) return silent > TCP_UNANSWERED_MS;
  return silent > TCP_IDLE_MS;
}

/* All that are over, wherever they are: not at each try, since somebody may flood us with tries. */
static bool make_room(struct flows *flows, uint64_t now_ms) {
  if (now_ms - flows->swept_ms < SWEEP_MS) return false;
  flows->swept_ms = now_ms;
  for (uint16_t at = flows->oldest; at != FLOW_NONE;) {
    struct flow *flow = &flows->list[at];
    at = flow->newer;
    if (is_over(flow, now_ms)) flows_remove(flows, flow);
  }
  return flows->free != FLOW_NONE;
}

struct flow *flows_add(struct flows *flows, const struct flow_key *key, uint64_t now_ms) {
  if (flows->free == FLOW_NONE && !make_room(flows, now_ms)) return NULL;
  uint16_t index = flows->free;
  struct flow *flow = &flows->list[index];
  flows->free = flow->next;
  size_t head = bucket(flows, key);
  *flow = (struct flow){.key = *key, .used = true, .seen_ms = now_ms, .begun_ms = now_ms, .next = flows->heads[head], .next_inner = FLOW_NONE};
  flows->heads[head] = index;
  age_link(flows, flow);
  flows->count++;
  return flow;
}

void flows_divert(struct flows *flows, struct flow *flow, const struct flow_key *inner) {
  size_t head = bucket(flows, inner);
  flow->inner = *inner;
  flow->diverted = true;
  flow->next_inner = flows->inner_heads[head];
  flows->inner_heads[head] = (uint16_t)(flow - flows->list);
}

void flows_seen(struct flows *flows, struct flow *flow, uint64_t now_ms) {
  flow->seen_ms = now_ms;
  age_unlink(flows, flow);
  age_link(flows, flow);
}

void flows_tell(struct flows *flows, struct flow *flow) {
  if (!flow->logged) return;
  flow->logged = false;
  if (flows->told != NULL) flows->told(flows->context, flow);
  flow->told = true;
  flow->sent = flow->received = 0;
}

int flows_step(struct flows *flows, uint64_t now_ms) {
  if (flows->told == NULL || flows->count == 0) return -1;
  if (now_ms - flows->told_ms < TELL_MS) return (int)(TELL_MS - (now_ms - flows->told_ms));
  flows->told_ms = now_ms;
  for (uint16_t at = flows->oldest; at != FLOW_NONE; at = flows->list[at].newer) {
    if (flows->list[at].key.protocol != IPPROTO_TCP && is_over(&flows->list[at], now_ms)) flows_tell(flows, &flows->list[at]);
  }
  return TELL_MS;
}

void flows_remove(struct flows *flows, struct flow *flow) {
  flows_tell(flows, flow);
  uint16_t index = (uint16_t)(flow - flows->list), *at = &flows->heads[bucket(flows, &flow->key)];
  while (*at != index) at = &flows->list[*at].next;
  *at = flow->next;
  if (flow->diverted) {
    at = &flows->inner_heads[bucket(flows, &flow->inner)];
    while (*at != index) at = &flows->list[*at].next_inner;
    *at = flow->next_inner;
  }
  age_unlink(flows, flow);
  *flow = (struct flow){.next = flows->free};
  flows->free = index;
  flows->count--;
}
