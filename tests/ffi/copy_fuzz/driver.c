/* Feeds unpacking what it must survive: see tar_fuzz.h. Built with sanitizers by tests/ffi/copy_fuzz_test.ts.
 *
 * Unpacks each tar in pieces of odd sizes into FOLDER/in, as a tree or an archive. Gives up when anything but
 * FOLDER/in shows up in FOLDER, or a failure has no words. */
#define _GNU_SOURCE
#include "copy/copy.h"
#include "tar_fuzz.h"

#include <dirent.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t push(struct copy_unpack *unpack, const struct seed *tar)
{
  size_t piece = pick_piece(100000);
  for (size_t at = 0; at < tar->size;) {
    size_t part = tar->size - at < piece ? tar->size - at : piece;
    uint8_t *copy = copy_of(tar->bytes + at, part);
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

static int64_t unpack(const char *folder, const struct seed *tar)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/in", folder);
  struct copy_unpack_options options = {
    .flags = COPY_OVERWRITE | COPY_PARENTS | COPY_MODES | COPY_TIMES | COPY_GUARDED |
             (pick(2) ? COPY_ARCHIVE : 0) | (pick(4) == 0 ? COPY_ASK : 0),
    .max_bytes = 4u << 20, .max_entries = 200,
  };
  struct copy_unpack *unpack = copy_unpack_open(path, "name", &options);
  int64_t result = push(unpack, tar);
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

int main(int count, char **arguments) { return fuzz_tars(count, arguments, unpack); }
