/* Reading CBOR in place: no allocation, no recursion deeper than CBOR_MAX_DEPTH, every length checked
 * against the bytes that are there. Only definite lengths are understood; the host sends no others.
 * (Debian has no static libcbor, and the messages are maps of texts, integers and booleans.) */
#ifndef HUTCH_AGENT_CBOR_IN_H
#define HUTCH_AGENT_CBOR_IN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CBOR_MAX_DEPTH 16

struct cbor_in {
  const uint8_t *at;
  const uint8_t *end;
};

/* Every function but cbor_in_null gives 0, or -EBADMSG if the bytes are something else or malformed; the position is
 * then undefined. */

/* The head of a map; `pairs` is never more than the bytes left could hold. */
int cbor_in_map(struct cbor_in *in, size_t *pairs);
int cbor_in_array(struct cbor_in *in, size_t *items);
/* A text or byte string; `bytes` points into the message. */
int cbor_in_string(struct cbor_in *in, const uint8_t **bytes, size_t *length);
int cbor_in_bool(struct cbor_in *in, bool *value);
/* True, and passed over, if the next item is null. */
bool cbor_in_null(struct cbor_in *in);
int cbor_in_uint(struct cbor_in *in, uint64_t *value);
int cbor_in_int(struct cbor_in *in, int64_t *value);
/* Passes over one item of any kind. */
int cbor_in_skip(struct cbor_in *in);

#endif
