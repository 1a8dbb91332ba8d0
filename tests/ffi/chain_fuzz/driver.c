/* Reads a whole chain: `driver DEPTH FILES...`, the uppermost first, each with q or r before its path.
 * Prints what it holds as a sum, or why it can't be read. */
#include "chain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (1u << 20)
#define MOST (UINT64_C(1) << 26)

static void read_all(hutch_chain *chain, uint32_t depth)
{
  uint8_t *buffer = malloc(PIECE);
  uint64_t run[3] = {0}, size = hutch_chain_size(chain), sum = 0;
  int result = 0, runs = 0;
  for (uint64_t at = 0; runs < 100000; runs++) {
    result = hutch_chain_next(chain, depth, at, run);
    if (result < 0 || run[2] == HUTCH_CHAIN_NOTHING) break;
    if (run[0] < at || run[1] == 0 || run[1] > size - run[0]) abort();
    at = run[0] + run[1];
  }
  for (uint64_t at = 0; result == 0 && at < size && at < MOST; at += PIECE) {
    size_t part = size - at < PIECE ? (size_t)(size - at) : PIECE;
    if (hutch_chain_read(chain, at, buffer, part) < 0) break;
    for (size_t i = 0; i < part; i++) sum = sum * 31 + buffer[i];
  }
  printf("%d runs, %" PRIx64 " %s\n", runs, sum, hutch_chain_error(chain));
  free(buffer);
}

int main(int argc, char **argv)
{
  char files[8192];
  size_t length = 0;
  for (int i = 2; i < argc; i++) {
    size_t size = strlen(argv[i]) + 1;
    if (length + size > sizeof files) return 2;
    memcpy(files + length, argv[i], size);
    length += size;
  }
  hutch_chain *chain;
  int result = hutch_chain_open(files, length, &chain);
  if (result < 0) printf("%d %s\n", result, chain == NULL ? "" : hutch_chain_error(chain));
  else read_all(chain, (uint32_t)atoi(argv[1]));
  hutch_chain_close(chain);
  return 0;
}
