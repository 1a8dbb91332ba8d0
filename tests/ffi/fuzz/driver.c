/* Feeds the layer parser what it must survive. Built with sanitizers by tests/ffi/fuzz_test.ts.
 *
 * driver FOLDER ROUNDS SEED-TAR...: applies each tar whole, then ROUNDS mutations of them. Every
 * image that can be finished is finished; some stay in FOLDER as keep-N for e2fsck. Prints how many
 * were refused and how many finished. The same arguments do the same. */
#include "helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_SEEDS 256
#define MAX_SIZE (1024u * 1024u)
#define KEEP_EVERY 97
#define HEADER 512u

struct seed {
  uint8_t *bytes;
  size_t size;
};

static uint64_t state = 88172645463325252u;

static uint64_t pick(uint64_t below)
{
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return below == 0 ? 0 : state % below;
}

static struct seed load(const char *path)
{
  FILE *file = fopen(path, "rb");
  struct seed seed = {malloc(MAX_SIZE), 0};
  if (file == NULL || seed.bytes == NULL) {
    fprintf(stderr, "cannot read %s\n", path);
    exit(2);
  }
  seed.size = fread(seed.bytes, 1, MAX_SIZE, file);
  fclose(file);
  return seed;
}

/* So that a changed header gets past the first check. */
static void mend_checksum(uint8_t *block)
{
  unsigned sum = 0;
  memset(block + 148, ' ', 8);
  for (size_t i = 0; i < HEADER; i++) sum += block[i];
  snprintf((char *)block + 148, 8, "%06o", sum);
}

static void mutate(uint8_t *bytes, size_t *size)
{
  static const uint8_t odd[] = {0, 0xff, 0x80, '/', '.', '0', '7', '9', ' ', '\n', '=', 'S', 'L'};
  for (uint64_t times = 1 + pick(4); times > 0 && *size >= HEADER; times--) {
    size_t blocks = *size / HEADER;
    uint8_t *block = bytes + pick(blocks) * HEADER;
    switch (pick(6)) {
    case 0: block[pick(HEADER)] = odd[pick(sizeof odd)]; break;
    case 1: block[pick(HEADER)] ^= (uint8_t)(1u << pick(8)); break;
    case 2: memcpy(block, bytes + pick(blocks) * HEADER, HEADER); break;
    case 3: block[124 + pick(12)] = odd[pick(sizeof odd)]; break;
    case 4: block[156] = (uint8_t)"01234567LKxgSVD"[pick(15)]; break;
    default: *size -= pick(*size); continue;
    }
    if (pick(4) != 0) mend_checksum(block);
  }
}

static int push(hutch_ext4 *fs, const uint8_t *bytes, size_t size)
{
  size_t piece = 1 + pick(pick(2) == 0 ? 700 : 100000);
  for (size_t at = 0; at < size; at += piece) {
    size_t part = size - at < piece ? size - at : piece;
    uint8_t *copy = malloc(part); /* its own allocation: reading beyond it is seen */
    memcpy(copy, bytes + at, part);
    int result = hutch_ext4_layer_push(fs, copy, part);
    free(copy);
    if (result < 0) return result;
  }
  return 0;
}

static int layer(hutch_ext4 *fs, const uint8_t *bytes, size_t size)
{
  int result = hutch_ext4_layer_begin(fs);
  if (result == 0) result = push(fs, bytes, size);
  if (result == 0) result = hutch_ext4_layer_end(fs);
  return result;
}

static int image(const char *path, const struct seed *base, const uint8_t *bytes, size_t size)
{
  struct hutch_ext4_options options = {
      .max_bytes = 4u << 20, .max_entries = 5000, .max_memory = 16u << 20, .uuid = {1}};
  hutch_ext4 *fs;
  int result = hutch_ext4_create(path, &options, &fs);
  if (result < 0) {
    fprintf(stderr, "cannot create %s: %d\n", path, result);
    exit(2);
  }
  result = layer(fs, base->bytes, base->size);
  if (result == 0) result = layer(fs, bytes, size);
  if (result == 0) result = hutch_ext4_finish(fs);
  if (result < 0 && hutch_ext4_error(fs)[0] == 0) {
    fprintf(stderr, "failed with %d without saying why\n", result);
    exit(2);
  }
  hutch_ext4_close(fs);
  return result;
}

int main(int count, char **arguments)
{
  struct seed seeds[MAX_SEEDS];
  int seed_count = count - 3;
  if (seed_count < 1 || seed_count > MAX_SEEDS) return 2;
  for (int i = 0; i < seed_count; i++) seeds[i] = load(arguments[i + 3]);
  int rounds = atoi(arguments[2]), refused = 0, finished = 0;
  uint8_t *bytes = malloc(MAX_SIZE);
  for (int i = 0; i < seed_count + rounds; i++) {
    const struct seed *seed = &seeds[i < seed_count ? i : (int)pick((uint64_t)seed_count)];
    size_t size = seed->size;
    memcpy(bytes, seed->bytes, size);
    if (i >= seed_count) mutate(bytes, &size);
    char path[4096], kept[4096];
    snprintf(path, sizeof path, "%s/image", arguments[1]);
    snprintf(kept, sizeof kept, "%s/keep-%d", arguments[1], i);
    int result = image(path, &seeds[pick((uint64_t)seed_count)], bytes, size);
    if (result < 0) refused++;
    else if (finished++ % KEEP_EVERY == 0) rename(path, kept);
    unlink(path);
  }
  printf("%d refused, %d finished\n", refused, finished);
  for (int i = 0; i < seed_count; i++) free(seeds[i].bytes);
  free(bytes);
  return 0;
}
