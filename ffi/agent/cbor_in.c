#include "cbor_in.h"

#include <errno.h>

enum major { UINT = 0, NINT = 1, BYTES = 2, TEXT = 3, ARRAY = 4, MAP = 5, TAG = 6, SIMPLE = 7 };

static size_t left(const struct cbor_in *in) {
  return (size_t)(in->end - in->at);
}

/* Reads an item's head: its major type, the low five bits and the number they stand for. */
static int head(struct cbor_in *in, unsigned *major, unsigned *low, uint64_t *value) {
  if (left(in) < 1) return -EBADMSG;
  unsigned first = *in->at++;
  *major = first >> 5;
  *low = first & 0x1f;
  if (*low < 24) {
    *value = *low;
    return 0;
  }
  if (*low > 27) return -EBADMSG; /* reserved, or indefinite length */
  size_t size = (size_t)1 << (*low - 24);
  if (left(in) < size) return -EBADMSG;
  uint64_t number = 0;
  for (size_t i = 0; i < size; i++) number = number << 8 | in->at[i];
  in->at += size;
  *value = number;
  return 0;
}

static int container(struct cbor_in *in, unsigned wanted, unsigned bytes_each, size_t *count) {
  unsigned major, low;
  uint64_t value;
  if (head(in, &major, &low, &value) < 0 || major != wanted) return -EBADMSG;
  if (value > left(in) / bytes_each) return -EBADMSG;
  *count = (size_t)value;
  return 0;
}

int cbor_in_map(struct cbor_in *in, size_t *pairs) {
  return container(in, MAP, 2, pairs);
}

int cbor_in_array(struct cbor_in *in, size_t *items) {
  return container(in, ARRAY, 1, items);
}

int cbor_in_string(struct cbor_in *in, const uint8_t **bytes, size_t *length) {
  unsigned major, low;
  uint64_t value;
  if (head(in, &major, &low, &value) < 0) return -EBADMSG;
  if ((major != TEXT && major != BYTES) || value > left(in)) return -EBADMSG;
  *bytes = in->at;
  *length = (size_t)value;
  in->at += value;
  return 0;
}

int cbor_in_bool(struct cbor_in *in, bool *value) {
  unsigned major, low;
  uint64_t number;
  if (head(in, &major, &low, &number) < 0) return -EBADMSG;
  if (major != SIMPLE || (low != 20 && low != 21)) return -EBADMSG;
  *value = low == 21;
  return 0;
}

bool cbor_in_null(struct cbor_in *in) {
  if (left(in) < 1 || *in->at != 0xf6) return false;
  in->at++;
  return true;
}

int cbor_in_uint(struct cbor_in *in, uint64_t *value) {
  unsigned major, low;
  if (head(in, &major, &low, value) < 0 || major != UINT) return -EBADMSG;
  return 0;
}

int cbor_in_int(struct cbor_in *in, int64_t *value) {
  unsigned major, low;
  uint64_t number;
  if (head(in, &major, &low, &number) < 0 || (major != UINT && major != NINT)) return -EBADMSG;
  if (number > INT64_MAX) return -EBADMSG;
  *value = major == UINT ? (int64_t)number : -1 - (int64_t)number;
  return 0;
}

static int skip(struct cbor_in *in, unsigned depth) {
  unsigned major, low;
  uint64_t value;
  if (depth > CBOR_MAX_DEPTH || head(in, &major, &low, &value) < 0) return -EBADMSG;
  uint64_t inner = 0;
  switch (major) {
    case BYTES:
    case TEXT:
      if (value > left(in)) return -EBADMSG;
      in->at += value;
      break;
    case ARRAY:
      inner = value;
      break;
    case MAP:
      if (value > left(in) / 2) return -EBADMSG;
      inner = value * 2;
      break;
    case TAG:
      inner = 1;
      break;
    case SIMPLE: /* floats carry their value in the head; one-byte simple values start at 32 */
      if (low == 24 && value < 32) return -EBADMSG;
      break;
    default:
      break;
  }
  if (inner > left(in)) return -EBADMSG;
  for (; inner > 0; inner--) {
    if (skip(in, depth + 1) < 0) return -EBADMSG;
  }
  return 0;
}

int cbor_in_skip(struct cbor_in *in) {
  return skip(in, 0);
}
