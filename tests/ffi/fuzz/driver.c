/* Feeds the layer parser what it must survive: see tar_fuzz.h. Built with sanitizers by tests/ffi/fuzz_test.ts.
 *
 * Applies each tar above another one. Every image that can be finished is finished; some stay in FOLDER as keep-N
 * for e2fsck. */
#include "helper.h"
#include "tar_fuzz.h"

#include <unistd.h>

#define KEEP_EVERY 97

static int push(hutch_ext4 *fs, const struct seed *tar)
{
  size_t piece = pick_piece(100000);
  for (size_t at = 0; at < tar->size; at += piece) {
    size_t part = tar->size - at < piece ? tar->size - at : piece;
    uint8_t *copy = copy_of(tar->bytes + at, part);
    int result = hutch_ext4_layer_push(fs, copy, part);
    free(copy);
    if (result < 0) return result;
  }
  return 0;
}

static int layer(hutch_ext4 *fs, const struct seed *tar)
{
  int result = hutch_ext4_layer_begin(fs);
  if (result == 0) result = push(fs, tar);
  if (result == 0) result = hutch_ext4_layer_end(fs);
  return result;
}

static int64_t apply(const char *folder, const struct seed *tar)
{
  static int finished;
  char path[4096], kept[4096];
  snprintf(path, sizeof path, "%s/image", folder);
  snprintf(kept, sizeof kept, "%s/keep-%d", folder, finished);
  struct hutch_ext4_options options = {
    .max_bytes = 4u << 20, .max_entries = 5000, .max_memory = 16u << 20, .uuid = {1}};
  hutch_ext4 *fs;
  if (hutch_ext4_create(path, &options, &fs) < 0) give_up("cannot create an image");
  int result = layer(fs, pick_seed());
  if (result == 0) result = layer(fs, tar);
  if (result == 0) result = hutch_ext4_finish(fs);
  if (result < 0 && hutch_ext4_error(fs)[0] == 0) give_up("failed without saying why");
  hutch_ext4_close(fs);
  if (result == 0 && finished++ % KEEP_EVERY == 0) rename(path, kept);
  unlink(path);
  return result;
}

int main(int count, char **arguments) { return fuzz_tars(count, arguments, apply); }
