#include "dns_message.h"

#include <stdio.h>
#include <string.h>

enum { LABEL_MAX = 63, NAME_MAX_BYTES = 255, CLASS_IN = 1, QUESTION_TAIL = 4 };

static uint16_t get16(const uint8_t *at) {
  return (uint16_t)(at[0] << 8 | at[1]);
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
    if (at >= length || at - DNS_HEADER >= NAME_MAX_BYTES) return DNS_FORMAT_ERROR;
    size_t label = message[at++];
    if (label == 0) break;
    if (label > LABEL_MAX || label > length - at) return DNS_FORMAT_ERROR; /* pointers have no place here */
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
  query[3] = (uint8_t)(0x80 | code);
  memset(query + 4, 0, 8);
  query[5] = asked;
  return asked ? question.end : DNS_HEADER;
}
