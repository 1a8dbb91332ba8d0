/* Writing CBOR into a fixed buffer. What doesn't fit is cut (texts) or dropped and remembered
 * (`overflow`); every message of the agent is far smaller than the buffer. */
#ifndef HUTCH_AGENT_CBOR_OUT_H
#define HUTCH_AGENT_CBOR_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CBOR_OUT_SIZE 2048
#define CBOR_OUT_TEXT 512 /* longest text in bytes; longer ones are cut */

struct cbor_out {
  size_t length;
  bool overflow;
  uint8_t bytes[CBOR_OUT_SIZE];
};

void cbor_out_map(struct cbor_out *out, unsigned pairs);
void cbor_out_uint(struct cbor_out *out, uint64_t value);
void cbor_out_int(struct cbor_out *out, int64_t value);
void cbor_out_bool(struct cbor_out *out, bool value);
void cbor_out_null(struct cbor_out *out);
/* Bytes that aren't UTF-8 (names from a hostile box) become '?'. */
void cbor_out_text(struct cbor_out *out, const char *text);

#endif
