/* The filter between a guest and its network stack, with frames made here: what passes, what is
 * answered, what is dropped, and how diverted conversations are changed on their way. */
#define _GNU_SOURCE 1
#include "frames.h"

#include <stdio.h>
#include <stdlib.h>

static struct filter filter;
static unsigned denied;
static enum group denied_group;
static int denied_rule;

static void on_denied(void *context, const struct denial *denial) {
  (void)context;
  denied++;
  denied_group = denial->group;
  denied_rule = denial->rule;
}

static enum verdict guest(const char *to, uint8_t protocol, unsigned port, uint8_t flags) {
  size_t length = make(strchr(to, ':') ? GUEST_V6 : GUEST_V4, to, protocol, 40000, port, flags, false);
  return filter_guest(&filter, frame, length, 1000);
}

static void begin(const char *rules, enum policy_mode mode) {
  char text[512], why[128];
  filter_free(&filter);
  filter_init(&filter, GUEST, 42);
  filter.on_denied = on_denied;
  filter.policy.mode = mode;
  snprintf(text, sizeof text, "%s", rules);
  assert(policy_read(&filter.policy, text, why));
  denied = 0;
}

/* ---- the policy ------------------------------------------------------------------------------- */

static void defaults(void) {
  static const struct { const char *to; bool nat, open; } CASES[] = {
    {"8.8.8.8", true, true}, {"2606:4700::1111", true, true},
    {"10.0.0.1", false, true}, {"172.31.255.255", false, true}, {"172.32.0.1", true, true}, {"192.168.1.1", false, true},
    {"100.64.0.1", false, true}, {"fd00::1", false, true}, {"fc00::1", false, true},
    {"169.254.1.1", false, true}, {"fe80::1", false, true},
    {"169.254.169.254", false, false}, {"100.100.100.200", false, false}, {"168.63.129.16", false, false}, {"fd00:ec2::254", false, false},
    {GATEWAY_V4, false, true}, {GATEWAY_V6, false, true},
    {"10.213.77.4", false, false}, {"10.213.77.255", false, false}, {"fd5a:7c1e:68b4::4", false, false},
    {"127.0.0.1", false, false}, {"127.1.2.3", false, false}, {"::1", false, false}, {"0.0.0.0", false, false}, {"0.1.2.3", false, false},
    {"::", false, false}, {"::7f00:1", false, false}, {"224.0.0.1", false, false}, {"255.255.255.255", false, false}, {"ff02::1", false, false},
    /* IPv4 in IPv6's clothes */
    {"64:ff9b::7f00:1", false, false}, {"64:ff9b::a00:1", false, true}, {"64:ff9b::808:808", true, true},
    {"2002:7f00:1::", false, false}, {"2002:a9fe:a9fe::1", false, false}, {"2001:0:1::1", false, true}, {"2001:db8::1", false, true},
  };
  for (int open = 0; open < 2; open++) {
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
      for (int protocol = 0; protocol < 2; protocol++) {
        begin("", open ? POLICY_OPEN : POLICY_NAT);
        enum verdict verdict = guest(CASES[i].to, protocol ? IPPROTO_UDP : IPPROTO_TCP, 80, TCP_SYN);
        bool wanted = open ? CASES[i].open : CASES[i].nat;
        if (verdict != (wanted ? FILTER_PASS : FILTER_REPLY) || denied != !wanted) {
          printf("%s in mode %s: verdict %d\n", CASES[i].to, open ? "open" : "nat", verdict);
          exit(1);
        }
      }
    }
  }
  /* The address of an interface of this machine is this machine's. */
  begin("allow any private any;deny any host any", POLICY_OPEN);
  assert(guest("10.9.9.9", IPPROTO_TCP, 80, TCP_SYN) == FILTER_PASS);
}

static void rules(void) {
  begin("allow tcp 10.0.0.0/8 80-90;deny any public any;allow icmp any any;allow udp fd00::/16 53", POLICY_NAT);
  assert(guest("10.1.2.3", IPPROTO_TCP, 80, TCP_SYN) == FILTER_PASS);
  assert(guest("10.1.2.3", IPPROTO_TCP, 91, TCP_SYN) == FILTER_REPLY && denied_rule == -1 && denied_group == GROUP_PRIVATE);
  assert(guest("10.1.2.3", IPPROTO_UDP, 80, 0) == FILTER_REPLY);
  assert(guest("8.8.8.8", IPPROTO_TCP, 443, TCP_SYN) == FILTER_REPLY && denied_rule == 1 && denied_group == GROUP_PUBLIC);
  assert(guest("10.1.2.3", IPPROTO_ICMP, 0, 0) == FILTER_PASS);
  assert(guest("fd00::5", IPPROTO_UDP, 53, 0) == FILTER_PASS);
  /* No rule leads to what never leaves a machine. */
  begin("allow any any any", POLICY_OPEN);
  assert(guest("127.0.0.1", IPPROTO_TCP, 80, TCP_SYN) == FILTER_REPLY);
  assert(guest("10.213.77.9", IPPROTO_TCP, 80, TCP_SYN) == FILTER_REPLY);
  static const char *const BAD[] = {
    "allow", "allow tcp any", "maybe tcp any any", "allow sctp any any", "allow tcp 1.2.3 any", "allow tcp 1.2.3.4/33 any",
    "allow tcp any 70000", "allow tcp any 9-1", "allow tcp any any divert 0", "deny tcp any any divert 5", "allow udp any any divert 5",
    "allow tcp any any more words", "allow in tcp example.org any", "allow tcp *.*.org any", "allow tcp a..b any", "allow tcp * any",
    "allow tcp 1.2.3.4.5 any", "allow in tcp any any divert 5", "allow up tcp any any",
  };
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
    char text[128], why[128];
    snprintf(text, sizeof text, "%s", BAD[i]);
    assert(!policy_read(&filter.policy, text, why) && filter.policy.count == 1);
  }
}

static void tell(const char *name, const char *to, unsigned ttl_s) {
  struct address about = address(to);
  names_add(&filter.names, name, &about, ttl_s, 1000);
}

/* At a time in ms; the rest as `guest`. */
static enum verdict later(uint64_t when, const char *to, unsigned port) {
  size_t length = make(strchr(to, ':') ? GUEST_V6 : GUEST_V4, to, IPPROTO_TCP, (unsigned)when % 60000 + 1024, port, TCP_SYN, false);
  return filter_guest(&filter, frame, length, when);
}

static void by_name(void) {
  begin("deny tcp *.bad.test 443;allow tcp *.test 443;deny any any any", POLICY_NAT);
  assert(guest("93.184.216.34", IPPROTO_TCP, 443, TCP_SYN) == FILTER_REPLY && denied_rule == 2);
  tell("good.test", "93.184.216.34", 0);
  /* Without a gate nothing looks at what is said first. */
  assert(guest("93.184.216.34", IPPROTO_TCP, 443, TCP_SYN) == FILTER_REPLY);
  filter.gate[0] = 4443;
  assert(guest("93.184.216.34", IPPROTO_TCP, 443, TCP_SYN) == FILTER_PASS && filter.packet.target_port == 4443);
  assert(guest("93.184.216.34", IPPROTO_UDP, 443, 0) == FILTER_REPLY);
  assert(guest("93.184.216.34", IPPROTO_TCP, 80, TCP_SYN) == FILTER_REPLY);
  tell("very.bad.test", "1.1.1.1", 7200);
  assert(guest("1.1.1.1", IPPROTO_TCP, 443, TCP_SYN) == FILTER_REPLY && denied_rule == 0);
  /* A name can be where the mode doesn't lead; that is no way there. */
  tell("near.test", "10.0.0.1", 60);
  tell("own.test", GATEWAY_V4, 60);
  assert(guest("10.0.0.1", IPPROTO_TCP, 443, TCP_SYN) == FILTER_REPLY);
  assert(guest(GATEWAY_V4, IPPROTO_TCP, 443, TCP_SYN) == FILTER_REPLY);
  filter.policy.mode = POLICY_OPEN;
  assert(guest("10.0.0.1", IPPROTO_TCP, 443, TCP_SYN) == FILTER_PASS);
  /* Its time is a minute at least, an hour at most, and a moment more. */
  assert(later(70000, "93.184.216.34", 443) == FILTER_PASS);
  assert(later(71100, "93.184.216.34", 443) == FILTER_REPLY);
  begin("allow tcp a.test any;deny any any any", POLICY_NAT);
  filter.gate[0] = 4443;
  tell("a.test", "9.9.9.9", UINT32_MAX);
  assert(later(3610000, "9.9.9.9", 443) == FILTER_PASS && later(3611100, "9.9.9.9", 443) == FILTER_REPLY);
  /* What ends soonest makes room. */
  for (unsigned i = 0; i < NAMES_MAX + 10; i++) {
    char name[32], to[32];
    snprintf(name, sizeof name, "n%u.test", i);
    snprintf(to, sizeof to, "8.%u.%u.8", i / 250, i % 250);
    tell(name, to, 60);
  }
  assert(filter.names.count == NAMES_MAX && later(1200000, "9.9.9.9", 443) == FILTER_PASS);
}

static void from_outside(void) {
  begin("deny in tcp host 80;allow in any any 81;deny in any any any", POLICY_NAT);
  struct packet packet;
  for (unsigned port = 80; port <= 82; port++) filter_publish(&filter, IPPROTO_TCP, (uint16_t)port, true);
  size_t length = make(GATEWAY_V4, GUEST_V4, IPPROTO_TCP, 5555, 80, TCP_SYN, true);
  assert(filter_host(&filter, frame, length, 1) == FILTER_REPLY && denied_rule == 0 && denied_group == GROUP_HOST);
  assert(packet_parse(filter.reply, filter.reply_length, &packet) == PACKET_FLOW && packet_sums(&packet));
  assert(packet.tcp_flags == (TCP_RST | TCP_ACK) && packet.target_port == 5555 && filter.flows.count == 0);
  length = make("8.8.8.8", GUEST_V4, IPPROTO_TCP, 5555, 81, TCP_SYN, true);
  assert(filter_host(&filter, frame, length, 1) == FILTER_PASS);
  length = make("8.8.8.8", GUEST_V4, IPPROTO_TCP, 5555, 82, TCP_SYN, true);
  assert(filter_host(&filter, frame, length, 1) == FILTER_REPLY && denied_rule == 2);
}

/* ---- the guest's word ------------------------------------------------------------------------- */

static void refusals(void) {
  struct packet packet;
  static const char *const TO[] = {"10.0.0.1", "fd00::1"};
  for (int i = 0; i < 2; i++) {
    begin("", POLICY_NAT);
    assert(guest(TO[i], IPPROTO_TCP, 80, TCP_SYN) == FILTER_REPLY);
    assert(packet_parse(filter.reply, filter.reply_length, &packet) == PACKET_FLOW && packet_sums(&packet));
    assert(packet.protocol == IPPROTO_TCP && packet.tcp_flags == (TCP_RST | TCP_ACK));
    assert(packet.source_port == 80 && packet.target_port == 40000);
    struct address to = address(TO[i]);
    assert(address_equal(&packet.source, &to));
    /* A reset is answered by nothing: two would go on for ever. */
    assert(guest(TO[i], IPPROTO_TCP, 80, TCP_RST) == FILTER_DROP);
    assert(guest(TO[i], IPPROTO_UDP, 80, 0) == FILTER_REPLY);
    assert(packet_parse(filter.reply, filter.reply_length, &packet) == PACKET_NEEDLESS && packet_sums(&packet));
    assert(packet.protocol == IPPROTO_ICMP && packet.body[0] == (i ? 1 : 3) && packet.body[1] == (i ? 1 : 13));
    assert(address_equal(&packet.source, &filter.gateway[i]));
  }
}

static void spoofing(void) {
  begin("", POLICY_OPEN);
  size_t length = make("10.213.77.9", "8.8.8.8", IPPROTO_UDP, 1, 2, 0, false);
  assert(filter_guest(&filter, frame, length, 1) == FILTER_DROP && filter.counts.spoofed == 1);
  length = make("fd5a:7c1e:68b4::9", "2606:4700::1", IPPROTO_TCP, 1, 2, TCP_SYN, false);
  assert(filter_guest(&filter, frame, length, 1) == FILTER_DROP && filter.counts.spoofed == 2);
  length = make(GUEST_V4, "8.8.8.8", IPPROTO_UDP, 1, 2, 0, false);
  frame[6] ^= 2;
  assert(filter_guest(&filter, frame, length, 1) == FILTER_DROP && filter.counts.spoofed == 3);
  length = make(GUEST_V4, "8.8.8.8", IPPROTO_UDP, 1, 2, 0, false);
  put16(frame + 14 + 6, 0x2000); /* the first of several fragments */
  assert(filter_guest(&filter, frame, length, 1) == FILTER_DROP && filter.counts.fragments == 1);
  for (size_t cut = 0; cut < length; cut++) {
    make(GUEST_V4, "8.8.8.8", IPPROTO_TCP, 1, 2, TCP_SYN, false);
    uint8_t *exact = malloc(cut + 1);
    memcpy(exact, frame, cut);
    assert(filter_guest(&filter, exact, cut, 1) == FILTER_DROP);
    free(exact);
  }
  assert(filter.counts.flows == 0);
}

static void inbound(void) {
  begin("", POLICY_NAT);
  size_t length = make(GATEWAY_V4, GUEST_V4, IPPROTO_TCP, 5555, 80, TCP_SYN, true);
  assert(!filter_host(&filter, frame, length, 1) && filter.counts.unasked == 1);
  filter_publish(&filter, IPPROTO_TCP, 80, true);
  length = make(GATEWAY_V4, GUEST_V4, IPPROTO_TCP, 5555, 80, TCP_SYN, true);
  assert(filter_host(&filter, frame, length, 1));
  /* The answer goes to the gateway, which the guest may not talk to by itself. */
  length = make(GUEST_V4, GATEWAY_V4, IPPROTO_TCP, 80, 5555, TCP_SYN | TCP_ACK, false);
  assert(filter_guest(&filter, frame, length, 2) == FILTER_PASS);
  length = make(GUEST_V4, GATEWAY_V4, IPPROTO_TCP, 80, 5556, TCP_SYN, false);
  assert(filter_guest(&filter, frame, length, 2) == FILTER_REPLY && denied_group == GROUP_HOST);
  /* A datagram that nobody asked for opens nothing. */
  length = make("10.0.0.1", GUEST_V4, IPPROTO_UDP, 53, 40000, 0, true);
  assert(!filter_host(&filter, frame, length, 1));
  assert(guest("10.0.0.1", IPPROTO_UDP, 53, 0) == FILTER_REPLY);
}

static void diverting(void) {
  struct packet packet;
  static const char *const TO[2][2] = {{"93.184.216.34", "1.1.1.1"}, {"2606:2800::1", "2606:4700::1"}};
  for (int v6 = 0; v6 < 2; v6++) {
    unsigned inner[2];
    begin("allow tcp any 443 divert 9443", POLICY_NAT);
    for (int i = 0; i < 2; i++) { /* both from the same port of the guest's */
      assert(guest(TO[v6][i], IPPROTO_TCP, 443, TCP_SYN) == FILTER_PASS && filter.begun != NULL);
      assert(packet_parse(frame, filter.packet.length, &packet) == PACKET_FLOW && packet_sums(&packet));
      assert(address_equal(&packet.target, &filter.gateway[v6]) && packet.target_port == 9443);
      inner[i] = packet.source_port;
    }
    assert(inner[0] != inner[1]);
    for (int i = 0; i < 2; i++) {
      size_t length = make(v6 ? GATEWAY_V6 : GATEWAY_V4, v6 ? GUEST_V6 : GUEST_V4, IPPROTO_TCP, 9443, inner[i], TCP_SYN | TCP_ACK, true);
      assert(filter_host(&filter, frame, length, 2));
      assert(packet_parse(frame, length, &packet) == PACKET_FLOW && packet_sums(&packet));
      struct address to = address(TO[v6][i]);
      assert(address_equal(&packet.source, &to) && packet.source_port == 443 && packet.target_port == 40000);
    }
  }
}

static void name_server(void) {
  begin("deny any any any", POLICY_NAT);
  assert(guest(DNS_V4, IPPROTO_UDP, 53, 0) == FILTER_DNS);
  assert(guest(DNS_V6, IPPROTO_UDP, 53, 0) == FILTER_DNS);
  assert(guest(DNS_V4, IPPROTO_UDP, 54, 0) == FILTER_REPLY);
  assert(guest(DNS_V4, IPPROTO_TCP, 53, TCP_SYN) == FILTER_REPLY);
  filter.dns_divert = 4053;
  assert(guest(DNS_V4, IPPROTO_TCP, 53, TCP_SYN) == FILTER_PASS && filter.packet.target_port == 4053);
}

/* ---- activity --------------------------------------------------------------------------------- */

static void arp(void) {
  memset(frame, 0, sizeof frame);
  memset(frame, 0xff, 6);
  memcpy(frame + 6, GUEST, 6);
  static const uint8_t WHO[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, FROM[] = {10, 213, 77, 2}, TO[] = {10, 213, 77, 1};
  memcpy(frame + 12, WHO, sizeof WHO);
  memcpy(frame + 22, GUEST, 6);
  memcpy(frame + 28, FROM, 4);
  memcpy(frame + 38, TO, 4);
  assert(filter_guest(&filter, frame, 42, 5000) == FILTER_PASS);
}

/* A conversation is active when it carries something; what only keeps one, or the guest's place in its
 * network, isn't, nor what is refused. */
static void activity(void) {
  begin("deny any 9.9.9.9 any", POLICY_NAT);
  arp();
  size_t length = make("0.0.0.0", "255.255.255.255", IPPROTO_UDP, 68, 67, 0, false); /* DHCP */
  assert(filter_guest(&filter, frame, length, 5000) == FILTER_DROP);
  assert(guest("224.0.0.251", IPPROTO_UDP, 5353, 0) == FILTER_REPLY);
  assert(guest("9.9.9.9", IPPROTO_UDP, 443, 0) == FILTER_REPLY);
  assert(guest("8.8.8.8", IPPROTO_TCP, 80, TCP_SYN) == FILTER_PASS);
  assert(guest("8.8.8.8", IPPROTO_TCP, 80, TCP_ACK) == FILTER_PASS);
  assert(filter.counts.bad == 0 && filter.active_ms == 0);
  /* Either way, begun here or outside. */
  assert(guest("8.8.8.8", IPPROTO_UDP, 443, 0) == FILTER_PASS && filter.active_ms == 1000);
  length = make("8.8.8.8", GUEST_V4, IPPROTO_UDP, 443, 40000, 0, true);
  assert(filter_host(&filter, frame, length, 2000) == FILTER_PASS && filter.active_ms == 2000);
  length = make(GATEWAY_V4, GUEST_V4, IPPROTO_UDP, 5555, 80, 0, true);
  assert(filter_host(&filter, frame, length, 3000) == FILTER_DROP && filter.active_ms == 2000);
  filter_publish(&filter, IPPROTO_UDP, 80, true);
  length = make(GATEWAY_V4, GUEST_V4, IPPROTO_UDP, 5555, 80, 0, true);
  assert(filter_host(&filter, frame, length, 3000) == FILTER_PASS && filter.active_ms == 3000);
  length = make(GUEST_V6, "2606:4700::1", IPPROTO_ICMP, 7, 0, 0, false);
  assert(filter_guest(&filter, frame, length, 4000) == FILTER_ECHO && filter.active_ms == 4000);
}

/* More conversations than there is room for. */
static void flood(void) {
  begin("", POLICY_NAT);
  for (unsigned i = 0; i < FLOWS_MAX + 1000; i++) {
    size_t length = make(GUEST_V4, i < 30000 ? "8.8.8.8" : "8.8.4.4", IPPROTO_TCP, 1024 + i % 60000, 80, TCP_SYN, false);
    enum verdict verdict = filter_guest(&filter, frame, length, 1000);
    assert(verdict == (i < FLOWS_MAX ? FILTER_PASS : FILTER_REPLY));
  }
  assert(filter.flows.count == FLOWS_MAX && filter.counts.full == 1000);
  /* Those that ended make room. */
  for (unsigned i = 0; i < 100; i++) {
    size_t length = make("8.8.8.8", GUEST_V4, IPPROTO_TCP, 80, 1024 + i, TCP_RST, true);
    assert(filter_host(&filter, frame, length, 1000));
  }
  for (unsigned i = 0; i < 50; i++) {
    size_t length = make(GUEST_V4, "9.9.9.9", IPPROTO_TCP, 1024 + i, 80, TCP_SYN, false);
    filter_guest(&filter, frame, length, 4000);
  }
  assert(filter.flows.count == FLOWS_MAX - 50 && filter.counts.full == 1000);
  /* So do those that nobody answered in 5 s; one that was stays. */
  size_t length = make("8.8.8.8", GUEST_V4, IPPROTO_TCP, 80, 1024 + 200, TCP_SYN | TCP_ACK, true);
  assert(filter_host(&filter, frame, length, 1000) == FILTER_PASS);
  for (unsigned i = 0; i < 51; i++) {
    length = make(GUEST_V4, "1.1.1.1", IPPROTO_TCP, 1024 + i, 80, TCP_SYN, false);
    assert(filter_guest(&filter, frame, length, 6500) == FILTER_PASS);
  }
  assert(filter.flows.count == 1 + 50 + 51 && filter.counts.full == 1000);
  struct flow_key key = {.remote = address("8.8.8.8"), .remote_port = 80, .guest_port = 1024 + 200, .protocol = IPPROTO_TCP};
  assert(flows_find(&filter.flows, &key) != NULL);
}

int main(void) {
  defaults();
  rules();
  by_name();
  from_outside();
  refusals();
  spoofing();
  inbound();
  diverting();
  name_server();
  activity();
  flood();
  filter_free(&filter);
  puts("ok");
  return 0;
}
