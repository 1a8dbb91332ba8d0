/* Feeds the unpacking of zstd frames what it must survive. Built with sanitizers by
 * tests/ffi/zstd_test.ts.
 *
 * driver ROUNDS FILE...: packs each file and unpacks it, then ROUNDS mutations of its frame. The same
 * arguments do the same. Prints how many were unpacked, and how many refused. */
#define _GNU_SOURCE 1
#include "helper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANGES 4
#define MOST (1u << 16)

static uint64_t state = 1;

static uint32_t next(uint32_t below)
{
  state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
  return (uint32_t)(state >> 33) % below;
}

static void check(int good, const char *what)
{
  if (good) return;
  fprintf(stderr, "%s\n", what);
  abort();
}

/* Of just that length, so that a byte beyond it is noticed. */
static uint8_t *copied(const uint8_t *bytes, size_t length)
{
  uint8_t *copy = malloc(length == 0 ? 1 : length);
  check(copy != NULL, "no memory");
  if (length > 0) memcpy(copy, bytes, length);
  return copy;
}

static int64_t unpack(hutch_zstd *zstd, const uint8_t *frame, size_t length, size_t size)
{
  uint8_t *own = copied(frame, length);
  uint8_t *plain = copied(NULL, 0);
  plain = realloc(plain, size == 0 ? 1 : size);
  int64_t got = hutch_zstd_unpack(zstd, own, length, plain, size);
  check(got == -EBADMSG || (got >= 0 && (uint64_t)got <= size), "another result");
  free(own);
  free(plain);
  return got;
}

/* Changes bytes, cuts the frame short, or has something follow it. */
static int64_t mutated(hutch_zstd *zstd, const uint8_t *frame, size_t length, size_t size)
{
  uint8_t *changed = malloc(length * 2 + 8);
  check(changed != NULL, "no memory");
  memcpy(changed, frame, length);
  size_t now = length;
  uint32_t kind = next(8);
  if (kind == 0) now = next((uint32_t)length);
  else if (kind == 1) memcpy(changed + length, frame, length), now = length * 2;
  else if (kind == 2) changed[now++] = (uint8_t)next(256);
  else
    for (uint32_t i = 1 + next(CHANGES); i-- > 0;) {
      /* Mostly at its beginning, which says what is to come. */
      uint32_t at = next(2) == 0 ? next(length < 24 ? (uint32_t)length : 24) : next((uint32_t)length);
      changed[at] ^= (uint8_t)(1 + next(255));
    }
  int64_t got = unpack(zstd, changed, now, next(4) == 0 ? next((uint32_t)size + 1) : size);
  check(kind > 2 || got < 0, "what isn't one whole frame was unpacked");
  free(changed);
  return got;
}

int main(int argc, char **argv)
{
  int good = 0, refused = 0;
  hutch_zstd *zstd;
  check(hutch_zstd_open(&zstd) == 0, "no handle");
  for (int i = 2; i < argc; i++) {
    uint8_t *plain = malloc(MOST), *frame = malloc(MOST * 2), *back = malloc(MOST);
    FILE *file = fopen(argv[i], "rb");
    check(file != NULL && plain != NULL && frame != NULL && back != NULL, "no file");
    size_t length = fread(plain, 1, MOST, file);
    fclose(file);
    int64_t packed = hutch_zstd_pack(zstd, plain, length, frame, MOST * 2);
    check(packed > 0, "not packed");
    check(hutch_zstd_pack(zstd, plain, length, frame, length) == -EINVAL, "too little room");
    check(hutch_zstd_pack(zstd, plain, length, frame, MOST * 2) == packed, "packed otherwise");
    check(hutch_zstd_unpack(zstd, frame, (size_t)packed, back, MOST) == (int64_t)length &&
              memcmp(back, plain, length) == 0,
          "other bytes");
    check(unpack(zstd, frame, (size_t)packed, length) == (int64_t)length, "no room");
    check(length == 0 || unpack(zstd, frame, (size_t)packed, length - 1) < 0, "more than there is room");
    for (int round = 0; round < atoi(argv[1]); round++) {
      if (mutated(zstd, frame, (size_t)packed, length) < 0) refused++;
      else good++;
    }
    /* After all that it works as ever. */
    check(unpack(zstd, frame, (size_t)packed, length) == (int64_t)length, "damaged");
    free(plain);
    free(frame);
    free(back);
  }
  hutch_zstd_close(zstd);
  printf("%d unpacked, %d refused\n", good, refused);
  return 0;
}
