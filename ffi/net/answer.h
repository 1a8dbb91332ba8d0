/* What a server answers to a request for another protocol, in pieces of any size. */
#ifndef HUTCH_NET_ANSWER_H
#define HUTCH_NET_ANSWER_H

#include <stddef.h>
#include <stdint.h>

enum { ANSWER_STATUS = 12 };

enum answer_kind {
  ANSWER_MORE, /* it hasn't come yet, or only answers that another follows */
  ANSWER_SWITCHES, /* 101 */
  ANSWER_SUCCESS,  /* 2xx */
  ANSWER_OTHER,
};

/* All zeros before the first piece. */
struct answer {
  char begins[ANSWER_STATUS]; /* `HTTP/1.1 200` */
  size_t length;              /* of these */
  size_t line;                /* of the line that the newest piece ends in, without its end */
};

/* Takes what has come. What follows the answer's beginning isn't looked at. */
enum answer_kind answer_read(struct answer *answer, const uint8_t *bytes, size_t length);

#endif
