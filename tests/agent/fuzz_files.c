/* Throws bytes at the reader of file requests: `fuzz_files SEED RUNS`, or with libFuzzer. */
#include "agent/files_request.h"

#include <stdlib.h>
#include <string.h>

static void expect(int condition) {
  if (!condition) abort();
}

static void check_path(const char *path, size_t head_length) {
  if (path != NULL) expect(strlen(path) > 0 && strlen(path) < head_length);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  /* The first byte says how much of the rest is data. Memory of its own, so that reading beyond shows. */
  size_t data_length = size == 0 ? 0 : bytes[0] % 4, head_length = size == 0 ? 0 : size - 1;
  if (data_length > head_length) data_length = head_length;
  head_length -= data_length;
  uint8_t *head = malloc(head_length + 1), *data = malloc(data_length + 1);
  expect(head != NULL && data != NULL);
  if (size > 0) memcpy(head, bytes + 1, head_length);
  if (size > 0) memcpy(data, bytes + 1 + head_length, data_length);
  uint8_t *exact = realloc(head, head_length > 0 ? head_length : 1);
  expect(exact != NULL);
  struct files_request request;
  const char *why = NULL;
  if (files_request_parse(exact, head_length, data, data_length, &request, &why) == 0) {
    check_path(request.path, head_length);
    check_path(request.to, head_length);
    expect(request.op >= 0 && request.op < FILES_OP_COUNT && request.mode <= 07777);
    expect((request.path != NULL) != request.has_handle && request.offset >= 0 && request.length >= 0);
    if (request.op == FILES_READ) expect(request.length <= FILES_MAX_DATA);
    if (request.op == FILES_RENAME || request.op == FILES_COPY) expect(request.path != NULL && request.to != NULL);
    expect(request.atime_ns < 1000000000 && request.mtime_ns < 1000000000 && request.uid >= -1);
    files_request_free(&request);
  } else {
    expect(why != NULL);
  }
  free(exact);
  free(data);
  return 0;
}

#ifdef HUTCH_FUZZ_MAIN

static uint64_t state;

static uint32_t next(uint32_t below) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33) % below;
}

static size_t put_string(uint8_t *at, unsigned major, const char *text) {
  size_t length = strlen(text);
  at[0] = (uint8_t)(major << 5 | length);
  memcpy(at + 1, text, length);
  return length + 1;
}

/* A good request, more or less. */
static size_t make(uint8_t *bytes) {
  static const char *const KEYS[] = {"path", "to", "handle", "flags", "mode", "offset", "length", "uid", "gid",
                                     "atime", "mtime", "atimeNs", "mtimeNs", "other"};
  static const char *const OPS[] = {"open", "load", "store", "close", "read", "write", "stat", "rename", "utime", "no"};
  size_t used = 0;
  bytes[used++] = (uint8_t)next(256);
  size_t at = used++;
  used += put_string(bytes + used, 3, "id");
  bytes[used++] = (uint8_t)next(24);
  used += put_string(bytes + used, 3, "op");
  used += put_string(bytes + used, 3, OPS[next(10)]);
  unsigned pairs = 2;
  for (unsigned key = 0; key < 14; key++) {
    if (next(3) == 0) continue;
    pairs++;
    used += put_string(bytes + used, 3, KEYS[key]);
    if (key < 2) used += put_string(bytes + used, 2 + next(2), next(9) ? "/a/b" : "");
    else bytes[used++] = (uint8_t)(next(9) ? next(24) : 0x20 | next(24));
  }
  bytes[at] = (uint8_t)(0xa0 | pairs);
  for (unsigned flips = next(3); flips > 0; flips--) bytes[next((uint32_t)used)] = (uint8_t)next(256);
  return next(4) == 0 ? next((uint32_t)used) + 1 : used;
}

int main(int count, char **arguments) {
  static uint8_t bytes[1024];
  if (count != 3) return 2;
  state = strtoull(arguments[1], NULL, 10);
  for (long runs = strtol(arguments[2], NULL, 10); runs > 0; runs--) LLVMFuzzerTestOneInput(bytes, make(bytes));
  return 0;
}

#endif
