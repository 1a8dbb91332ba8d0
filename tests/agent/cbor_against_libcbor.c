/* Holds the agent's CBOR against libcbor's: `cbor_against_libcbor SEED RUNS`. What the agent writes,
 * libcbor must read as the same values; what the agent's reader passes over, libcbor must find well
 * formed and of the same length; and of libcbor's own items the agent must read every one that has
 * definite lengths and isn't too deep. */
#include "agent/cbor_in.h"
#include "agent/cbor_out.h"

#include <cbor.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

static uint32_t next(uint32_t below) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33) % below;
}

static void expect(int condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "%s\n", what);
  abort();
}

static void written_is_read(void) {
  struct cbor_out out = {0};
  char key[24], text[64];
  uint64_t number = (uint64_t)next(1u << 31) << next(33);
  size_t length = next(sizeof text - 1);
  for (size_t i = 0; i < length; i++) text[i] = (char)('a' + next(26));
  text[length] = '\0';
  snprintf(key, sizeof key, "key%u", next(1000));
  int64_t whole = next(2) ? (int64_t)number >> next(64) : -1 - ((int64_t)number >> next(64));
  cbor_out_map(&out, 4);
  cbor_out_text(&out, key);
  cbor_out_uint(&out, number);
  cbor_out_text(&out, "text");
  cbor_out_text(&out, text);
  cbor_out_text(&out, "none");
  cbor_out_null(&out);
  cbor_out_text(&out, "whole");
  cbor_out_int(&out, whole);
  struct cbor_load_result result;
  cbor_item_t *item = cbor_load(out.bytes, out.length, &result);
  expect(item != NULL && result.read == out.length, "libcbor can't read what the agent wrote");
  expect(cbor_isa_map(item) && cbor_map_size(item) == 4, "it is no map of four");
  struct cbor_pair *pairs = cbor_map_handle(item);
  expect(cbor_string_length(pairs[0].key) == strlen(key), "the key's length differs");
  expect(memcmp(cbor_string_handle(pairs[0].key), key, strlen(key)) == 0, "the key differs");
  expect(cbor_isa_uint(pairs[0].value) && cbor_get_int(pairs[0].value) == number, "the number differs");
  expect(cbor_string_length(pairs[1].value) == length, "the text's length differs");
  expect(memcmp(cbor_string_handle(pairs[1].value), text, length) == 0, "the text differs");
  expect(cbor_is_null(pairs[2].value), "it is not null");
  uint64_t size = cbor_get_int(pairs[3].value);
  expect(cbor_isa_negint(pairs[3].value) == (whole < 0), "the sign differs");
  expect(size == (whole < 0 ? (uint64_t)(-1 - whole) : (uint64_t)whole), "the whole number differs");
  int64_t again;
  struct cbor_in in = {out.bytes + out.length - 1, out.bytes + out.length};
  while (in.at > out.bytes && memcmp(in.at - 5, "whole", 5) != 0) in.at--;
  expect(cbor_in_int(&in, &again) == 0 && again == whole && in.at == in.end, "the agent reads another number");
  cbor_decref(&item);
}

/* A random item, definite lengths only. */
static cbor_item_t *make_item(int depth) {
  switch (next(depth > 0 ? 7 : 5)) {
    case 0: return cbor_build_uint64(((uint64_t)next(1u << 31) << 32 | next(1u << 31)) >> next(64));
    case 1: return cbor_build_negint32(next(1u << 31));
    case 2: return cbor_build_bool(next(2));
    case 3: {
      uint8_t bytes[300];
      size_t length = next(sizeof bytes);
      for (size_t i = 0; i < length; i++) bytes[i] = (uint8_t)next(256);
      return cbor_build_bytestring(bytes, length);
    }
    case 4: return cbor_build_string("some text");
    case 5: {
      size_t count = next(6);
      cbor_item_t *array = cbor_new_definite_array(count);
      for (size_t i = 0; i < count; i++) expect(cbor_array_push(array, cbor_move(make_item(depth - 1))), "push");
      return array;
    }
    default: {
      size_t count = next(6);
      cbor_item_t *map = cbor_new_definite_map(count);
      for (size_t i = 0; i < count; i++) {
        struct cbor_pair pair = {cbor_move(make_item(depth - 1)), cbor_move(make_item(depth - 1))};
        expect(cbor_map_add(map, pair), "add");
      }
      return map;
    }
  }
}

static void libcbors_is_passed_over(void) {
  cbor_item_t *item = make_item(4);
  unsigned char *bytes = NULL;
  size_t size = 0;
  size_t length = cbor_serialize_alloc(item, &bytes, &size);
  expect(length > 0, "serialize");
  struct cbor_in in = {bytes, bytes + length};
  expect(cbor_in_skip(&in) == 0, "the agent can't read libcbor's item");
  expect(in.at == bytes + length, "the agent's item ends elsewhere");
  /* Cut anywhere it must be refused. */
  struct cbor_in cut = {bytes, bytes + next((uint32_t)length)};
  expect(cbor_in_skip(&cut) != 0, "the agent took a part for the whole");
  /* Mangled it may be anything, but what the agent takes must be well formed. */
  for (unsigned n = 1 + next(3); n > 0; n--) bytes[next((uint32_t)length)] = (uint8_t)next(256);
  struct cbor_in mangled = {bytes, bytes + length};
  if (cbor_in_skip(&mangled) == 0) {
    struct cbor_load_result result;
    cbor_item_t *again = cbor_load(bytes, length, &result);
    /* libcbor 0.8 wants known simple values and floats; the agent passes over all of them. */
    if (again != NULL) expect((size_t)(mangled.at - bytes) == result.read, "the lengths differ");
    if (again != NULL) cbor_decref(&again);
  }
  free(bytes);
  cbor_decref(&item);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  state = strtoull(argv[1], NULL, 10);
  for (long runs = strtol(argv[2], NULL, 10); runs > 0; runs--) {
    written_is_read();
    libcbors_is_passed_over();
  }
  return 0;
}
