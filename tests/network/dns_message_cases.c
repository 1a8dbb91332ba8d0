/* Names in DNS messages, as long as there may be and longer. Built with sanitizers by dns_message_test.ts. */
#include "net/dns_message.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 255, LABEL_MAX = 63 };

/* A question for a name whose labels have these sizes; in memory of its own, so that no byte behind it is read. */
static uint8_t *question_for(const uint8_t *labels, size_t count, size_t *length) {
  *length = DNS_HEADER + 1 + 4;
  for (size_t i = 0; i < count; i++) *length += 1u + labels[i];
  uint8_t *message = calloc(1, *length), *at = message + DNS_HEADER;
  assert(message != NULL);
  message[5] = 1;
  for (size_t i = 0; i < count; i++) {
    *at++ = labels[i];
    memset(at, 0xff, labels[i]); /* the longest as a text: \255 */
    at += labels[i];
  }
  at[2] = at[4] = 1;
  return message;
}

static void try_name(const uint8_t *labels, size_t count) {
  size_t length, characters = 0;
  uint8_t *message = question_for(labels, count, &length);
  struct dns_question question;
  int result = dns_read_question(message, length, &question);
  for (size_t i = 0; i < count; i++) characters += labels[i];
  size_t bytes = characters + count + 1;
  assert(result == (bytes <= NAME_MAX_BYTES ? DNS_OK : DNS_FORMAT_ERROR));
  if (result == DNS_OK) {
    assert(strlen(question.name) == 4 * characters + count - 1);
    assert(question.end == length);
    /* The same in an answer that has nothing but the question. */
    struct dns_address list[1];
    message[2] |= 0x80;
    assert(dns_read_addresses(message, length, 60, list, 1) == 0);
  }
  free(message);
}

int main(void) {
  uint8_t labels[NAME_MAX_BYTES];
  /* All labels of one size, and the last of any other. */
  for (unsigned size = 1; size <= LABEL_MAX; size++) {
    memset(labels, (int)size, sizeof labels);
    for (size_t count = 1; count * (size + 1) <= NAME_MAX_BYTES + LABEL_MAX && count < sizeof labels; count++) {
      for (unsigned last = 1; last <= LABEL_MAX; last++) {
        labels[count - 1] = (uint8_t)last;
        try_name(labels, count);
      }
      labels[count - 1] = (uint8_t)size;
    }
  }
  try_name((const uint8_t[]){63, 63, 63, 61, 63}, 5);
  puts("ok");
  return 0;
}
