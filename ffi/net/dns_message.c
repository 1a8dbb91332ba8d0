#include "dns_message.h"

#include <stdio.h>
#include <string.h>

enum {
  LABEL_MAX = 63, NAME_MAX_BYTES = 255, POINTERS_MAX = 64, CLASS_IN = 1, QUESTION_TAIL = 4,
  RECORD_HEAD = 10, TYPE_A = 1, TYPE_CNAME = 5, TYPE_AAAA = 28,
};

static uint16_t get16(const uint8_t *at) {
  return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at) {
  return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put32(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint8_t lower(uint8_t byte) {
  return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte + 32) : byte;
}

static size_t put_label(char *text, const uint8_t *label, size_t length) {
  size_t at = 0;
  for (size_t i = 0; i < length; i++) {
    uint8_t byte = lower(label[i]);
    if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_') text[at++] = (char)byte;
    else at += (size_t)snprintf(text + at, 5, "\\%03u", byte);
  }
  return at;
}

int dns_read_question(const uint8_t *message, size_t length, struct dns_question *question) {
  if (length < DNS_HEADER || message[2] & 0x80) return -1;
  if ((message[2] & 0x78) != 0) return DNS_NOT_IMPLEMENTED; /* not a plain question */
  if (get16(message + 4) != 1 || get16(message + 6) != 0) return DNS_FORMAT_ERROR;
  size_t at = DNS_HEADER, text = 0;
  for (;;) {
    if (at >= length) return DNS_FORMAT_ERROR;
    size_t label = message[at++];
    if (label == 0) break;
    if (label > LABEL_MAX || label > length - at) return DNS_FORMAT_ERROR; /* pointers have no place here */
    if (at - DNS_HEADER + label >= NAME_MAX_BYTES) return DNS_FORMAT_ERROR; /* with its own end, and the name's */
    if (text > 0) question->name[text++] = '.';
    text += put_label(question->name + text, message + at, label);
    at += label;
  }
  question->name[text] = '\0';
  if (length - at < QUESTION_TAIL) return DNS_FORMAT_ERROR;
  question->type = get16(message + at);
  question->end = at + QUESTION_TAIL;
  return get16(message + at + 2) == CLASS_IN ? DNS_OK : DNS_NOT_IMPLEMENTED;
}

/* A name of an answer, where pointers may be: where it ends, 0 for none. `text` as in dns_question. */
static size_t read_name(const uint8_t *message, size_t length, size_t at, char text[DNS_NAME_TEXT]) {
  size_t end = 0, used = 0, bytes = 0;
  for (int pointers = 0;;) {
    if (at >= length) return 0;
    size_t label = message[at++];
    if (label >= 0xc0) {
      if (at >= length || ++pointers > POINTERS_MAX) return 0;
      if (end == 0) end = at + 1;
      at = (label & 0x3f) << 8 | message[at];
      continue;
    }
    if (label == 0) break;
    bytes += label + 1;
    if (label > LABEL_MAX || label > length - at || bytes >= NAME_MAX_BYTES) return 0;
    if (used > 0) text[used++] = '.';
    used += put_label(text + used, message + at, label);
    at += label;
  }
  text[used] = '\0';
  return end > 0 ? end : at;
}

int dns_read_addresses(uint8_t *answer, size_t length, uint32_t ttl_most_s, struct dns_address *list, size_t most) {
  char wanted[DNS_NAME_TEXT], owner[DNS_NAME_TEXT];
  size_t at = read_name(answer, length, DNS_HEADER, wanted), count = 0;
  if (at == 0 || get16(answer + 4) != 1 || length - at < QUESTION_TAIL) return get16(answer + 4) == 0 ? 0 : -1;
  at += QUESTION_TAIL;
  for (unsigned left = get16(answer + 6); left > 0; left--) {
    at = read_name(answer, length, at, owner);
    if (at == 0 || length - at < RECORD_HEAD) return -1;
    uint8_t *head = answer + at;
    uint16_t type = get16(head), size = get16(head + 8);
    at += RECORD_HEAD;
    if (length - at < size) return -1;
    if (get32(head + 4) > ttl_most_s) put32(head + 4, ttl_most_s);
    bool own = get16(head + 2) == CLASS_IN && strcmp(owner, wanted) == 0;
    if (own && type == TYPE_CNAME && read_name(answer, length, at, wanted) == 0) return -1;
    if ((type == TYPE_A && size == 4) || (type == TYPE_AAAA && size == 16)) {
      if (!own || count == most) return -1;
      struct address address = type == TYPE_A ? address_v4(answer + at) : address_v6(answer + at);
      list[count++] = (struct dns_address){.address = address, .ttl_s = get32(head + 4)};
    }
    at += size;
  }
  return (int)count;
}

bool dns_is_answer(const uint8_t *query, size_t query_length, const uint8_t *answer, size_t length) {
  struct dns_question question;
  if (dns_read_question(query, query_length, &question) != DNS_OK) return false;
  if (length < DNS_HEADER || (answer[2] & 0x80) == 0) return false;
  /* Some servers leave the question out when they fail. */
  if (get16(answer + 4) == 0) return (answer[3] & 15) != DNS_OK;
  if (get16(answer + 4) != 1 || length < question.end) return false;
  for (size_t i = DNS_HEADER; i < question.end - QUESTION_TAIL; i++) {
    if (lower(query[i]) != lower(answer[i])) return false;
  }
  return memcmp(query + question.end - QUESTION_TAIL, answer + question.end - QUESTION_TAIL, QUESTION_TAIL) == 0;
}

size_t dns_fail(uint8_t *query, size_t length, int code) {
  struct dns_question question;
  int read = dns_read_question(query, length, &question);
  bool asked = read == DNS_OK;
  query[2] = (uint8_t)((query[2] & 0x79) | 0x80);
  query[3] = (uint8_t)(0x80 | (code & 15));
  memset(query + 4, 0, 8);
  query[5] = asked;
  return asked ? question.end : DNS_HEADER;
}

size_t dns_make_answer(const uint8_t *query, const struct dns_question *question, const struct address *addresses, size_t count,
                       uint32_t ttl_s, uint8_t *answer) {
  size_t at = question->end, records = 0;
  memcpy(answer, query, at);
  for (size_t i = 0; i < count; i++) {
    bool v4 = address_is_v4(&addresses[i]);
    if (question->type != (v4 ? TYPE_A : TYPE_AAAA)) continue;
    const uint8_t head[] = {0xc0, DNS_HEADER, 0, (uint8_t)question->type, 0, CLASS_IN};
    uint8_t size = v4 ? 4 : 16;
    memcpy(answer + at, head, sizeof head);
    put32(answer + at + sizeof head, ttl_s);
    answer[at + sizeof head + 4] = 0;
    answer[at + sizeof head + 5] = size;
    memcpy(answer + at + sizeof head + 6, addresses[i].bytes + 16 - size, size);
    at += sizeof head + 6 + size;
    records++;
  }
  answer[2] = (uint8_t)((query[2] & 0x79) | 0x80);
  answer[3] = 0x80;
  memset(answer + 4, 0, 8);
  answer[5] = 1;
  answer[7] = (uint8_t)records;
  return at;
}
