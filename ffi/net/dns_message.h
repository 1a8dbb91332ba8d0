/* As much of DNS messages as tells a question, whether an answer is to it, and which addresses it has. */
#ifndef HUTCH_NET_DNS_MESSAGE_H
#define HUTCH_NET_DNS_MESSAGE_H

#include "address.h"

enum { DNS_HEADER = 12, DNS_NAME_TEXT = 1024, DNS_QUERY_MAX = 4096, DNS_ANSWER_MAX = 65535 };
enum { DNS_OK = 0, DNS_FORMAT_ERROR = 1, DNS_SERVER_FAILURE = 2, DNS_NOT_IMPLEMENTED = 4, DNS_REFUSED = 5, DNS_NOTHING = 16 /* no such record, and no error */ };
enum { DNS_TYPE_SVCB = 64, DNS_TYPE_HTTPS = 65 };

struct dns_question {
  char name[DNS_NAME_TEXT]; /* lower case, without the last dot; bytes that names don't have as \DDD */
  uint16_t type;
  size_t end;               /* where the question ends in the message */
};

/* Reads the one question of a query. DNS_OK, or the code to answer with; -1: not even worth an answer. */
int dns_read_question(const uint8_t *message, size_t length, struct dns_question *question);

/* Whether `answer` is one to the query: its number aside, the same question. */
bool dns_is_answer(const uint8_t *query, size_t query_length, const uint8_t *answer, size_t length);

/* An address in an answer. */
struct dns_address {
  struct address address;
  uint32_t ttl_s;
};

/* Reads the addresses in an answer (dns_is_answer) that are the question's, by aliases too, and lowers
 * their times to `ttl_most_s`. How many, at most `most`; -1: the answer isn't well-formed. */
int dns_read_addresses(uint8_t *answer, size_t length, uint32_t ttl_most_s, struct dns_address *list, size_t most);

enum { DNS_RECORD_MAX = 28 };

/* Makes the answer to a query that has those of the addresses which are of its type; its length, at most
 * that of the question and DNS_RECORD_MAX for each. */
size_t dns_make_answer(const uint8_t *query, const struct dns_question *question, const struct address *addresses, size_t count,
                       uint32_t ttl_s, uint8_t *answer);

/* Turns a query into the answer that has nothing but a code, in place; its new length. */
size_t dns_fail(uint8_t *query, size_t length, int code);

#endif
