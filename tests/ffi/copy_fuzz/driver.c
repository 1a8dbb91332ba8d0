/* Feeds unpacking what it must survive. Built with sanitizers by tests/ffi/copy_fuzz_test.ts.
 *
 * driver FOLDER ROUNDS SEED-TAR...: unpacks each tar whole, then ROUNDS mutations of them, in pieces
 * of odd sizes, into FOLDER/in, guarded or not, as a tree or an archive. Gives up when anything but
 * FOLDER/in shows up in FOLDER, or a failure has no words. Prints how many were refused and how many
 * finished. The same arguments do the same. */
#define _GNU_SOURCE
#include "copy/copy.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SEEDS 256
#define MAX_SIZE (256u * 1024u)

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

static _Noreturn void give_up(const char *why)
{
  fprintf(stderr, "%s\n", why);
  exit(2);
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
  for (size_t i = 0; i < TAR_BLOCK; i++) sum += block[i];
  snprintf((char *)block + 148, 8, "%06o", sum);
}

static void mutate(uint8_t *bytes, size_t *size)
{
  static const uint8_t odd[] = {0, 0xff, 0x80, '/', '.', '0', '7', '9', ' ', '\n', '=', 'S', 'L'};
  for (uint64_t times = 1 + pick(4); times > 0 && *size >= TAR_BLOCK; times--) {
    size_t blocks = *size / TAR_BLOCK;
    uint8_t *block = bytes + pick(blocks) * TAR_BLOCK;
    switch (pick(7)) {
      case 0: block[pick(TAR_BLOCK)] = odd[pick(sizeof odd)]; break;
      case 1: block[pick(TAR_BLOCK)] ^= (uint8_t)(1u << pick(8)); break;
      case 2: memcpy(block, bytes + pick(blocks) * TAR_BLOCK, TAR_BLOCK); break;
      case 3: block[124 + pick(12)] = odd[pick(sizeof odd)]; break;
      case 4: block[156] = (uint8_t)"01256LKxgVS"[pick(11)]; break;
      case 5: strcpy((char *)block, pick(2) ? "../outside" : "/outside"); break;
      default: *size -= pick(*size); continue;
    }
    if (pick(4) != 0) mend_checksum(block);
  }
}

static int64_t push(struct copy_unpack *unpack, const uint8_t *bytes, size_t size)
{
  size_t piece = 1 + pick(pick(2) == 0 ? 700 : 100000);
  for (size_t at = 0; at < size;) {
    size_t part = size - at < piece ? size - at : piece;
    uint8_t *copy = malloc(part); /* its own allocation: reading beyond it is seen */
    memcpy(copy, bytes + at, part);
    int64_t used = copy_unpack_push(unpack, copy, part);
    free(copy);
    if (used < 0) return used;
    at += (size_t)used;
    if (copy_unpack_asks(unpack) != NULL) copy_unpack_answer(unpack, pick(4) != 0);
  }
  return 0;
}

static int drop(const char *path, const struct stat *status, int kind, struct FTW *where)
{
  (void)status;
  (void)kind;
  (void)where;
  return remove(path);
}

/* Nothing but `in` may be in the folder. */
static void check(const char *folder)
{
  DIR *names = opendir(folder);
  if (names == NULL) give_up("the folder is gone");
  for (struct dirent *next; (next = readdir(names)) != NULL;) {
    bool known = strcmp(next->d_name, ".") == 0 || strcmp(next->d_name, "..") == 0 || strcmp(next->d_name, "in") == 0 ||
                 strncmp(next->d_name, "seed-", 5) == 0;
    if (!known) give_up("something was written outside");
  }
  closedir(names);
}

static int64_t unpack(const char *folder, const uint8_t *bytes, size_t size)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/in", folder);
  struct copy_unpack_options options = {
    .flags = COPY_OVERWRITE | COPY_PARENTS | COPY_MODES | COPY_TIMES | COPY_GUARDED |
             (pick(2) ? COPY_ARCHIVE : 0) | (pick(4) == 0 ? COPY_ASK : 0),
    .max_bytes = 4u << 20, .max_entries = 200,
  };
  struct copy_unpack *unpack = copy_unpack_open(path, "name", &options);
  int64_t result = push(unpack, bytes, size);
  if (result == 0) result = copy_unpack_finish(unpack);
  char line[5 * COPY_MAX_PATH];
  const struct copy_failure *failure = copy_unpack_failure(unpack);
  if (result < 0 && (failure->code == 0 || copy_failure_line(failure, line, sizeof line) >= sizeof line))
    give_up("failed without saying why");
  copy_unpack_close(unpack);
  check(folder);
  nftw(path, drop, 16, FTW_DEPTH | FTW_PHYS);
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
    if (unpack(arguments[1], bytes, size) < 0) refused++;
    else finished++;
  }
  printf("%d refused, %d finished\n", refused, finished);
  for (int i = 0; i < seed_count; i++) free(seeds[i].bytes);
  free(bytes);
  return 0;
}
