/* A layer out of two disks: opening and closing. See diff.h. */
#define _GNU_SOURCE 1
#include "diff.h"

#include "image.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int diff_error(hutch_diff *diff, int code, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(diff->error, sizeof diff->error, format, arguments);
  va_end(arguments);
  return code;
}

int diff_path_error(hutch_diff *diff, int code, const char *problem)
{
  struct text path = {diff->path, strlen(diff->path)};
  if (path.length == 0) return diff_error(diff, code, "%s", problem);
  return diff_error(diff, code, "entry \"%s\": %s", quote(path).text, problem);
}

int diff_go_on(hutch_diff *diff)
{
  if (diff->cancelled == NULL || *(volatile const int32_t *)diff->cancelled == 0) return 0;
  return diff_error(diff, -ECANCELED, "it was cancelled");
}

static int open_reader(hutch_diff *diff, struct ext4_reader *fs, const char *files, size_t length)
{
  hutch_chain *chain;
  int result = hutch_chain_open(files, length, &chain);
  if (chain == NULL) return diff_error(diff, -ENOMEM, "out of memory");
  fs->chain = chain;
  fs->cancelled = diff->cancelled;
  if (result < 0) return diff_error(diff, result, "%s", hutch_chain_error(chain));
  result = ext4_open(fs, chain);
  return result < 0 ? diff_error(diff, result, "%s", fs->error) : 0;
}

/* Where the last of the files begins. */
static size_t lowest(const char *files, size_t length)
{
  size_t at = length;
  if (length < 2) return 0;
  for (at = length - 1; at > 0 && files[at - 1] != 0;) at--;
  return at;
}

static int open_both(hutch_diff *diff, const char *files, size_t length)
{
  int result = open_reader(diff, &diff->disk, files, length);
  if (result < 0 || !diff->has_base) return result;
  size_t at = lowest(files, length);
  result = open_reader(diff, &diff->base, files + at, length - at);
  if (result < 0) return result;
  if (diff->base.block_size == diff->disk.block_size) return 0;
  return diff_error(diff, -ENOTSUP, "it has another file system than its image");
}

static int pack_attribute(void *context, const char *name, const uint8_t *value, size_t length)
{
  void **both = context;
  char key[400];
  snprintf(key, sizeof key, "SCHILY.xattr.%s", name);
  return pack_record(both[0], both[1], key, value, length);
}

/* For pack_header: the present inode's attributes. */
static int add_attributes(struct hutch_pack *pack, struct pack_bytes *records)
{
  hutch_diff *diff = pack->owner;
  void *both[2] = {pack, records};
  if (diff->inode.number == 0) return 0;
  return ext4_attributes(&diff->disk, &diff->inode, pack_attribute, both);
}

int hutch_diff_open(const char *files, size_t length, int whole, uint64_t max_entries,
                    const int32_t *cancelled, hutch_diff **out)
{
  hutch_diff *diff = *out = calloc(1, sizeof *diff);
  if (diff == NULL) return -ENOMEM;
  diff->has_base = whole == 0;
  diff->max_entries = max_entries == 0 ? DIFF_MAX_ENTRIES : max_entries;
  diff->cancelled = cancelled;
  diff->pack = calloc(1, sizeof *diff->pack);
  if (diff->pack == NULL) return diff_error(diff, -ENOMEM, "out of memory");
  diff->pack->file = -1;
  diff->pack->owner = diff;
  diff->pack->attributes = add_attributes;
  int result = open_both(diff, files, length);
  return result < 0 ? result : diff_walk(diff);
}

uint64_t hutch_diff_count(const hutch_diff *diff, uint32_t what)
{
  return what == 0 ? diff->item_count : what == 1 ? diff->whiteouts : diff->sockets;
}

const char *hutch_diff_error(const hutch_diff *diff)
{
  return diff->error;
}

void hutch_diff_close(hutch_diff *diff)
{
  if (diff == NULL) return;
  for (size_t i = 0; i < diff->item_count; i++) free(diff->items[i].path);
  free(diff->items);
  free(diff->files);
  free(diff->stack);
  ext4_extents_release(&diff->extents);
  if (diff->pack != NULL) {
    free(diff->pack->extents);
    free(diff->pack->head.bytes);
    free(diff->pack);
  }
  ext4_close(&diff->disk);
  ext4_close(&diff->base);
  free(diff);
}
