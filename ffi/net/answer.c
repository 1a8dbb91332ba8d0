#include "answer.h"

#include <stdbool.h>
#include <string.h>

static bool is_digit(char byte) {
  return byte >= '0' && byte <= '9';
}

/* By its beginning; ANSWER_MORE: another answer follows this one. */
static enum answer_kind kind_of(const char begins[ANSWER_STATUS]) {
  const char *status = begins + 9;
  if (strncmp(begins, "HTTP/1.", 7) != 0 || !is_digit(begins[7]) || begins[8] != ' ') return ANSWER_OTHER;
  if (!is_digit(status[1]) || !is_digit(status[2])) return ANSWER_OTHER;
  if (strncmp(status, "101", 3) == 0) return ANSWER_SWITCHES;
  return status[0] == '2' ? ANSWER_SUCCESS : status[0] == '1' ? ANSWER_MORE : ANSWER_OTHER;
}

enum answer_kind answer_read(struct answer *answer, const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (answer->length < ANSWER_STATUS) {
      if (bytes[i] == '\n') return ANSWER_OTHER;
      answer->begins[answer->length++] = (char)bytes[i];
      answer->line = answer->length;
      enum answer_kind kind = answer->length < ANSWER_STATUS ? ANSWER_MORE : kind_of(answer->begins);
      if (kind != ANSWER_MORE) return kind;
    } else if (bytes[i] != '\n') {
      if (bytes[i] != '\r') answer->line++;
    } else if (answer->line > 0) {
      answer->line = 0;
    } else {
      answer->length = 0; /* its head is over, and it has no body */
    }
  }
  return ANSWER_MORE;
}
