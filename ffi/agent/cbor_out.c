#include "cbor_out.h"

#include <string.h>

static void put(struct cbor_out *out, const void *bytes, size_t length) {
  if (length > sizeof out->bytes - out->length) {
    out->overflow = true;
    return;
  }
  memcpy(out->bytes + out->length, bytes, length);
  out->length += length;
}

static void head(struct cbor_out *out, unsigned major, uint64_t value) {
  uint8_t bytes[9];
  unsigned size = value < 24 ? 0 : value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;
  unsigned low = size == 0 ? (unsigned)value : size == 1 ? 24 : size == 2 ? 25 : size == 4 ? 26 : 27;
  bytes[0] = (uint8_t)(major << 5 | low);
  for (unsigned i = 0; i < size; i++) bytes[1 + i] = (uint8_t)(value >> (8 * (size - 1 - i)));
  put(out, bytes, 1 + size);
}

void cbor_out_map(struct cbor_out *out, unsigned pairs) {
  head(out, 5, pairs);
}

void cbor_out_uint(struct cbor_out *out, uint64_t value) {
  head(out, 0, value);
}

void cbor_out_int(struct cbor_out *out, int64_t value) {
  head(out, value < 0, value < 0 ? (uint64_t)(-1 - value) : (uint64_t)value);
}

void cbor_out_bool(struct cbor_out *out, bool value) {
  head(out, 7, value ? 21 : 20);
}

void cbor_out_null(struct cbor_out *out) {
  head(out, 7, 22);
}

/* Length of the UTF-8 sequence at `text`, 0 if there is none (stray, overlong, surrogate, cut). */
static size_t sequence(const uint8_t *text, size_t left) {
  uint8_t first = text[0];
  if (first < 0x80) return 1;
  size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || size > left) return 0;
  for (size_t i = 1; i < size; i++) {
    if ((text[i] & 0xc0) != 0x80) return 0;
  }
  if (first == 0xe0 && text[1] < 0xa0) return 0;
  if (first == 0xed && text[1] > 0x9f) return 0;
  if (first == 0xf0 && text[1] < 0x90) return 0;
  if (first == 0xf4 && text[1] > 0x8f) return 0;
  return size;
}

void cbor_out_text(struct cbor_out *out, const char *text) {
  uint8_t clean[CBOR_OUT_TEXT];
  size_t length = strnlen(text, sizeof clean);
  const uint8_t *from = (const uint8_t *)text;
  for (size_t i = 0; i < length;) {
    size_t size = sequence(from + i, length - i);
    if (size == 0) {
      clean[i++] = '?';
    } else {
      memcpy(clean + i, from + i, size);
      i += size;
    }
  }
  head(out, 3, length);
  put(out, clean, length);
}
