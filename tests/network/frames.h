/* Ethernet frames between a guest and its network stack, made by hand. */
#ifndef HUTCH_TESTS_NETWORK_FRAMES_H
#define HUTCH_TESTS_NETWORK_FRAMES_H

#include "net/filter.h"

#include <assert.h>
#include <string.h>

static uint8_t frame[2000];
static size_t carried;

static void put16(uint8_t *at, unsigned value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static struct address address(const char *text) {
  struct address result;
  assert(address_parse(text, &result));
  return result;
}

/* A sum over 16 bits, as slow and plain as can be: the filter's own isn't trusted here. */
static unsigned plain_sum(const uint8_t *bytes, size_t length, unsigned total) {
  for (size_t i = 0; i < length; i++) total += i % 2 == 0 ? (unsigned)bytes[i] << 8 : bytes[i];
  while (total > 0xffff) total = (total & 0xffff) + (total >> 16);
  return total;
}

static const uint8_t GUEST[MAC_SIZE] = {0x52, 0x48, 0x55, 0x54, 0x43, 0x02};

/* Makes a frame, sums included; its length. One of TCP carries `carried` bytes. */
static size_t make(const char *from, const char *to, uint8_t protocol, unsigned source, unsigned target,
                   uint8_t flags, bool to_guest) {
  struct address a = address(from), b = address(to);
  bool v6 = !address_is_v4(&a);
  size_t header = v6 ? 40 : 20, body = protocol == IPPROTO_TCP ? 20 + carried : 12, width = v6 ? 16 : 4;
  static const uint8_t GATE[6] = {0x52, 0x55, 1, 2, 3, 4};
  memset(frame, 0, sizeof frame);
  memcpy(frame, to_guest ? GUEST : GATE, 6);
  memcpy(frame + 6, to_guest ? GATE : GUEST, 6);
  put16(frame + 12, v6 ? 0x86dd : 0x0800);
  uint8_t *ip = frame + 14, *at = ip + header;
  ip[0] = v6 ? 0x60 : 0x45;
  put16(ip + (v6 ? 4 : 2), (unsigned)(v6 ? body : header + body));
  ip[v6 ? 7 : 8] = 64;
  ip[v6 ? 6 : 9] = protocol == IPPROTO_ICMP && v6 ? IPPROTO_ICMPV6 : protocol;
  memcpy(ip + (v6 ? 8 : 12), a.bytes + 16 - width, width);
  memcpy(ip + (v6 ? 8 : 12) + width, b.bytes + 16 - width, width);
  if (!v6) put16(ip + 10, ~plain_sum(ip, 20, 0) & 0xffff);
  unsigned check = 0;
  if (protocol == IPPROTO_ICMP) {
    at[0] = v6 ? 128 : 8;
    put16(at + 4, source);
    check = 2;
  } else {
    put16(at, source);
    put16(at + 2, target);
    if (protocol == IPPROTO_UDP) put16(at + 4, (unsigned)body);
    else at[12] = 5 << 4, at[13] = flags;
    check = protocol == IPPROTO_UDP ? 6 : 16;
  }
  unsigned start = 0;
  if (v6 || protocol != IPPROTO_ICMP) start = plain_sum(ip + (v6 ? 8 : 12), 2 * width, ip[v6 ? 6 : 9] + (unsigned)body);
  put16(at + check, ~plain_sum(at, body, start) & 0xffff);
  return 14 + header + body;
}

#endif
