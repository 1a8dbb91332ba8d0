/* Frames of any bytes against the filter, messages against the name server's readers, and what a
 * connection says first against the reader of names; each in a
 * buffer of exactly its length, under sanitizers. By itself it makes its own from a seed. */
#define _GNU_SOURCE 1
#include "net/dns_message.h"
#include "net/filter.h"
#include "net/greeting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct filter *filter;
static uint64_t clock_ms;

static void prepare(void) {
  char rules[] = "allow tcp any 443 divert 9443;deny udp 8.8.0.0/16 any;deny in tcp 8.0.0.0/8 80;deny tcp *.test 80;allow any any any", why[128];
  filter = malloc(sizeof *filter);
  if (filter == NULL) abort();
  filter_init(filter, (const uint8_t[MAC_SIZE]){0x52, 0x48, 0x55, 0x54, 0x43, 0x02}, 7);
  filter->dns_divert = 4053;
  filter_publish(filter, IPPROTO_TCP, 80, true);
  filter_publish(filter, IPPROTO_UDP, 80, true);
  if (!policy_read(&filter->policy, rules, why)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (filter == NULL) prepare();
  if (size == 0) return 0;
  uint8_t kind = data[0], *copy = malloc(size);
  if (copy == NULL) abort();
  memcpy(copy, data + 1, size - 1);
  size--;
  clock_ms += kind;
  if (kind % 4 == 0) {
    struct dns_question question;
    int code = dns_read_question(copy, size, &question);
    if (code == DNS_OK && (question.end > size || strlen(question.name) >= DNS_NAME_TEXT)) abort();
    size_t half = size / 2;
    dns_is_answer(copy, half, copy + half, size - half);
    struct dns_address list[4];
    if (size >= DNS_HEADER && dns_read_addresses(copy, size, 3600, list, 4) > 4) abort();
    if (code >= 0 && dns_fail(copy, size, DNS_SERVER_FAILURE) > size) abort();
  } else if (kind % 16 == 1) {
    char name[NAME_TEXT];
    size_t length = size < GREETING_MAX ? size : GREETING_MAX;
    bool named = greeting_read(copy, length, name) == GREETING_NAME;
    if (named && (name[0] == '\0' || !name_or_address(name))) abort();
    if (greeting_at_end(copy, length) == GREETING_OTHER && greeting_is_tls(copy, length)) abort();
  } else if (kind % 4 == 1) {
    filter_host(filter, copy, size, clock_ms);
  } else {
    /* Most are the guest's own, or nothing would come far. */
    if (size >= 14 && kind & 16) memcpy(copy + 6, filter->guest_mac, 6);
    if (size >= 34 && kind & 32 && copy[12] == 8) memcpy(copy + 26, filter->guest[0].bytes + 12, 4);
    if (size >= 54 && kind & 32 && copy[12] == 0x86) memcpy(copy + 22, filter->guest[1].bytes, 16);
    enum verdict verdict = filter_guest(filter, copy, size, clock_ms);
    if (verdict == FILTER_PASS && filter->packet.length > size) abort();
    if (verdict == FILTER_REPLY && (filter->reply_length == 0 || filter->reply_length > REPLY_MAX)) abort();
  }
  free(copy);
  return 0;
}

#ifdef HUTCH_FUZZ_MAIN
int main(int count, char **words) {
  if (count != 3) return 2;
  uint64_t seed = strtoull(words[1], NULL, 10) * 0x9e3779b97f4a7c15u | 1;
  static uint8_t data[3000];
  static const uint8_t HEADS[3][16] = {
    {0x08, 0x00, 0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6}, {0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64}, {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1},
  };
  for (long round = strtol(words[2], NULL, 10); round > 0; round--) {
    for (size_t at = 0; at < 200; at += 8) {
      seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
      memcpy(data + at, &seed, 8);
    }
    size_t size = seed % (seed & 1 << 20 ? 120 : 2000);
    memcpy(data + 13, HEADS[seed >> 32 & 1 ? 0 : seed >> 33 & 1 ? 1 : 2], seed >> 40 & 1 ? 2 : 12);
    if (data[13] == 0x08 && data[14] == 0 && seed >> 41 & 1) { /* the right length, and UDP now and then */
      data[17] = (uint8_t)((size - 15) >> 8), data[18] = (uint8_t)(size - 15);
      if (seed >> 42 & 1) data[24] = 17, data[39] = (uint8_t)((size - 35) >> 8), data[40] = (uint8_t)(size - 35);
    }
    LLVMFuzzerTestOneInput(data, size);
  }
  return 0;
}
#endif
