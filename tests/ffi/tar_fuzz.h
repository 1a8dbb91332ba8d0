/* What the drivers share that feed tars to whatever reads them: `driver FOLDER ROUNDS SEED-TAR...` tries each tar
 * whole, then ROUNDS mutations of them, and prints how many were refused and how many finished. The same arguments
 * do the same. A part of each driver, not compiled alone. */
#ifndef HUTCH_TESTS_TAR_FUZZ_H
#define HUTCH_TESTS_TAR_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SEEDS 256
#define MAX_SIZE (1024u * 1024u)
#define HEADER 512u

struct seed {
  uint8_t *bytes;
  size_t size;
};

/* Gives a tar to what is tested; negative when that refuses it. */
typedef int64_t try_tar(const char *folder, const struct seed *tar);

static struct seed seeds[MAX_SEEDS];
static int seed_count;
static uint64_t state = 88172645463325252u;

static uint64_t pick(uint64_t below)
{
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return below == 0 ? 0 : state % below;
}

static const struct seed *pick_seed(void) { return &seeds[pick((uint64_t)seed_count)]; }

/* How much of a tar is given at once. */
static size_t pick_piece(uint64_t most) { return 1 + pick(pick(2) == 0 ? 700 : most); }

static _Noreturn void give_up(const char *why)
{
  fprintf(stderr, "%s\n", why);
  exit(2);
}

/* An allocation of its own, to be freed: reading beyond it is seen. */
static uint8_t *copy_of(const uint8_t *bytes, size_t size)
{
  uint8_t *copy = malloc(size);
  if (copy == NULL) give_up("no memory");
  return memcpy(copy, bytes, size);
}

static struct seed load(const char *path)
{
  FILE *file = fopen(path, "rb");
  struct seed seed = {malloc(MAX_SIZE), 0};
  if (file == NULL || seed.bytes == NULL) give_up(path);
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

static void mutate(struct seed *tar)
{
  static const uint8_t odd[] = {0, 0xff, 0x80, '/', '.', '0', '7', '9', ' ', '\n', '=', 'S', 'L'};
  static const char types[] = "01234567LKxgSVD";
  for (uint64_t times = 1 + pick(4); times > 0 && tar->size >= HEADER; times--) {
    size_t blocks = tar->size / HEADER;
    uint8_t *block = tar->bytes + pick(blocks) * HEADER;
    switch (pick(7)) {
      case 0: block[pick(HEADER)] = odd[pick(sizeof odd)]; break;
      case 1: block[pick(HEADER)] ^= (uint8_t)(1u << pick(8)); break;
      case 2: memcpy(block, tar->bytes + pick(blocks) * HEADER, HEADER); break;
      case 3: block[124 + pick(12)] = odd[pick(sizeof odd)]; break;
      case 4: block[156] = (uint8_t)types[pick(sizeof types - 1)]; break;
      case 5: strcpy((char *)block, pick(2) ? "../outside" : "/outside"); break;
      default: tar->size -= pick(tar->size); continue;
    }
    if (pick(4) != 0) mend_checksum(block);
  }
}

static int fuzz_tars(int count, char **arguments, try_tar *try)
{
  seed_count = count - 3;
  if (seed_count < 1 || seed_count > MAX_SEEDS) return 2;
  for (int i = 0; i < seed_count; i++) seeds[i] = load(arguments[i + 3]);
  int rounds = atoi(arguments[2]), refused = 0, finished = 0;
  struct seed tar = {malloc(MAX_SIZE), 0};
  for (int i = 0; i < seed_count + rounds; i++) {
    const struct seed *seed = i < seed_count ? &seeds[i] : pick_seed();
    tar.size = seed->size;
    memcpy(tar.bytes, seed->bytes, tar.size);
    if (i >= seed_count) mutate(&tar);
    if (try(arguments[1], &tar) < 0) refused++;
    else finished++;
  }
  printf("%d refused, %d finished\n", refused, finished);
  for (int i = 0; i < seed_count; i++) free(seeds[i].bytes);
  free(tar.bytes);
  return 0;
}

#endif
