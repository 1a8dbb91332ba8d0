/* What is told of conversations: whatever the guest says of their ends, all that the stack takes and gives
 * is in what is told. */
#define _GNU_SOURCE 1
#include "frames.h"

#include <netinet/in.h>
#include <stdio.h>

#define PEER "8.8.8.8"

static struct filter filter;
static unsigned begun, over;
static uint64_t sent, received; /* by all that is over */

static void on_begun(void *context, const struct flow *flow) {
  (void)context, (void)flow;
  begun++;
}

static void on_over(void *context, const struct flow *flow) {
  (void)context;
  over++;
  sent += flow->sent;
  received += flow->received;
}

static void begin(void) {
  filter_free(&filter);
  filter_init(&filter, GUEST, 42);
  filter.log = true;
  filter.on_begun = on_begun;
  filter.flows.told = on_over;
  begun = over = 0;
  sent = received = 0;
}

/* A frame with so many bytes, from the guest's port. */
static enum verdict says(unsigned port, uint8_t flags, size_t bytes, uint64_t when) {
  carried = bytes;
  return filter_guest(&filter, frame, make(GUEST_V4, PEER, IPPROTO_TCP, port, 80, flags, false), when);
}

static void hears(unsigned port, uint8_t flags, size_t bytes, uint64_t when) {
  carried = bytes;
  assert(filter_host(&filter, frame, make(PEER, GUEST_V4, IPPROTO_TCP, 80, port, flags, true), when) == FILTER_PASS);
}

static void open(void) {
  begin();
  assert(says(40000, TCP_SYN, 0, 1000) == FILTER_PASS);
  hears(40000, TCP_SYN | TCP_ACK, 0, 1000);
  says(40000, TCP_ACK, 100, 1000);
  hears(40000, TCP_ACK, 0, 1000);
  assert(begun == 1 && over == 0);
}

static bool told(unsigned wanted_begun, unsigned wanted_over, uint64_t wanted_sent, uint64_t wanted_received) {
  if (begun == wanted_begun && over == wanted_over && sent == wanted_sent && received == wanted_received) return true;
  printf("%u begun, %u over, %d sent, %d received\n", begun, over, (int)sent, (int)received);
  return false;
}

static void true_ends(void) {
  for (int first = 0; first < 2; first++) {
    open();
    for (int i = 0; i < 2; i++) {
      if (i == first) says(40000, TCP_FIN | TCP_ACK, 50, 1000);
      else hears(40000, TCP_FIN | TCP_ACK, 7, 1000);
    }
    hears(40000, TCP_ACK, 0, 1000);
    says(40000, TCP_ACK, 0, 1000);
    says(40000, TCP_RST, 0, 1000);
    assert(told(1, 1, 150, 7));
  }
  open();
  says(40000, TCP_RST, 0, 1000);
  /* What is said later, to a stack that has taken the end. */
  says(40000, TCP_ACK, 900, 1000);
  hears(40000, TCP_RST, 0, 1000);
  assert(told(1, 1, 100, 0));
  /* The same port again. */
  assert(says(40000, TCP_SYN, 0, 2000) == FILTER_PASS && told(2, 1, 100, 0));
}

static void false_reset(void) {
  open();
  says(40000, TCP_RST, 0, 1000);
  assert(told(1, 1, 100, 0));
  says(40000, TCP_ACK, 1000, 2000);
  assert(told(1, 1, 100, 0));
  hears(40000, TCP_ACK, 500, 2000);
  assert(told(2, 1, 100, 0));
  says(40000, TCP_ACK, 1000, 2000);
  hears(40000, TCP_RST, 0, 2000);
  assert(told(2, 2, 2100, 500));
  /* Nor is it one to say so while the stack hasn't answered yet. */
  begin();
  says(40000, TCP_SYN, 0, 1000);
  says(40000, TCP_RST, 0, 1000);
  hears(40000, TCP_SYN | TCP_ACK, 0, 1000);
  says(40000, TCP_ACK, 10, 1000);
  hears(40000, TCP_ACK, 20, 1000);
  says(40000, TCP_RST, 0, 1000);
  assert(told(2, 2, 10, 20));
  /* The stack may reset what came out of turn, and take what comes then. */
  says(40000, TCP_ACK, 50, 1000);
  hears(40000, TCP_RST, 0, 1000);
  says(40000, TCP_ACK, 3, 1000);
  hears(40000, TCP_ACK, 0, 1000);
  says(40000, TCP_RST, 0, 1000);
  assert(told(3, 3, 13, 20));
}

static void false_end(void) {
  open();
  says(40000, TCP_FIN | TCP_ACK, 0, 1000);
  hears(40000, TCP_FIN | TCP_ACK, 0, 1000);
  hears(40000, TCP_ACK, 0, 1000);
  assert(told(1, 1, 100, 0));
  says(40000, TCP_ACK, 1000, 1000);
  hears(40000, TCP_ACK, 0, 1000);
  says(40000, TCP_ACK, 1000, 1000);
  assert(told(2, 1, 100, 0));
  says(40000, TCP_FIN | TCP_ACK, 0, 1000);
  assert(told(2, 2, 2100, 0));
}

/* One that made room for others, and goes on. */
static void forgotten(void) {
  open();
  says(40000, TCP_RST, 0, 1000);
  for (unsigned i = 1; i < FLOWS_MAX; i++) assert(says(40000 + i, TCP_SYN, 0, 1000) == FILTER_PASS);
  assert(says(2000, TCP_SYN, 0, 4000) == FILTER_PASS && filter.flows.count == FLOWS_MAX);
  unsigned before = begun;
  assert(says(40000, TCP_ACK, 10, 4000) == FILTER_DROP && filter.counts.full == 1);
  assert(says(40000, TCP_ACK, 0, 6500) == FILTER_PASS && begun == before);
  hears(40000, TCP_ACK, 1000, 6500);
  assert(begun == before + 1);
  over = 0;
  sent = received = 0;
  says(40000, TCP_RST, 0, 6500);
  assert(told(before + 1, 1, 0, 1000));
}

/* A published port: who comes there may come again from the same one. */
static void from_outside(void) {
  begin();
  filter_publish(&filter, IPPROTO_TCP, 80, true);
  for (unsigned i = 1; i <= 2; i++) {
    carried = 0;
    size_t length = make(GATEWAY_V4, GUEST_V4, IPPROTO_TCP, 5555, 80, TCP_SYN, true);
    assert(filter_host(&filter, frame, length, 1000) == FILTER_PASS && begun == i);
    carried = 10;
    length = make(GATEWAY_V4, GUEST_V4, IPPROTO_TCP, 5555, 80, TCP_ACK, true);
    filter_host(&filter, frame, length, 1000);
    carried = 0;
    length = make(GUEST_V4, GATEWAY_V4, IPPROTO_TCP, 80, 5555, TCP_RST | TCP_ACK, false);
    filter_guest(&filter, frame, length, 1000);
    assert(told(i, i, 0, 10 * i));
  }
}

static void silence(void) {
  begin();
  for (unsigned i = 1; i <= 2; i++) {
    size_t length = make(GUEST_V4, PEER, IPPROTO_UDP, 40000, 53, 0, false);
    assert(filter_guest(&filter, frame, length, 30000 * i) == FILTER_PASS);
    length = make(PEER, GUEST_V4, IPPROTO_UDP, 53, 40000, 0, true);
    assert(filter_host(&filter, frame, length, 30000 * i) == FILTER_PASS);
    assert(told(i, i - 1, 4 * (i - 1), 4 * (i - 1)));
    flows_step(&filter.flows, 30000 * i + 25000);
    assert(told(i, i, 4 * i, 4 * i));
  }
}

int main(void) {
  true_ends();
  false_reset();
  false_end();
  forgotten();
  from_outside();
  silence();
  filter_free(&filter);
  puts("ok");
  return 0;
}
