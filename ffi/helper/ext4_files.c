/* What files and folders hold. See ext4_read.h. */
#define _GNU_SOURCE 1
#include "ext4_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int add_name(struct ext4_reader *fs, const uint8_t *entry, size_t most,
                    struct ext4_names *names)
{
  size_t length = entry[6];
  const char *text = (const char *)entry + 8;
  if (length == 0 || memchr(text, 0, length) != NULL || memchr(text, '/', length) != NULL)
    return ext4_error(fs, -EBADMSG, "a folder has a name that can't be");
  if (text[0] == '.' && (length == 1 || (length == 2 && text[1] == '.'))) return 0;
  if (names->count == most) return ext4_error(fs, -EFBIG, "it has too many entries");
  if (names->count == names->capacity) {
    size_t capacity = names->capacity * 2 + 16;
    struct ext4_name *list = realloc(names->list, capacity * sizeof *list);
    if (list == NULL) return ext4_error(fs, -ENOMEM, "out of memory");
    names->list = list;
    names->capacity = capacity;
  }
  char *name = strndup(text, length);
  if (name == NULL) return ext4_error(fs, -ENOMEM, "out of memory");
  names->list[names->count++] = (struct ext4_name){name, le32_at(entry)};
  return 0;
}

static int list_block(struct ext4_reader *fs, uint64_t number, size_t most,
                      struct ext4_names *names)
{
  const uint8_t *block;
  int result = ext4_kept_block(fs, number, &block);
  for (uint32_t at = 0; result == 0 && at < fs->block_size;) {
    const uint8_t *entry = block + at;
    uint32_t left = fs->block_size - at, length = left >= 8 ? le16_at(entry + 4) : 0;
    if (length < 8 || length % 4 != 0 || length > left || entry[6] + 8u > length)
      return ext4_error(fs, -EBADMSG, "a folder's entries can't be right");
    if (le32_at(entry) != 0) result = add_name(fs, entry, most, names);
    at += length;
  }
  return result;
}

static int compare_names(const void *a, const void *b)
{
  return strcmp(((const struct ext4_name *)a)->name, ((const struct ext4_name *)b)->name);
}

int ext4_list(struct ext4_reader *fs, const struct ext4_inode *inode, size_t most,
              struct ext4_names *names)
{
  struct ext4_extents extents = {0};
  int result = ext4_map(fs, inode, &extents);
  uint64_t blocks = inode->size / fs->block_size;
  for (size_t i = 0; i < extents.count && result == 0; i++) {
    const struct ext4_extent *extent = &extents.list[i];
    for (uint64_t at = 0; at < extent->count && extent->logical + at < blocks && result == 0; at++)
      result = list_block(fs, extent->start + at, most, names);
  }
  ext4_extents_release(&extents);
  if (result < 0 || names->count == 0) return result;
  qsort(names->list, names->count, sizeof *names->list, compare_names);
  for (size_t i = 1; i < names->count; i++)
    if (strcmp(names->list[i - 1].name, names->list[i].name) == 0)
      return ext4_error(fs, -EBADMSG, "a folder has a name twice");
  return 0;
}

void ext4_names_release(struct ext4_names *names)
{
  for (size_t i = 0; i < names->count; i++) free(names->list[i].name);
  free(names->list);
  *names = (struct ext4_names){0};
}

int ext4_target(struct ext4_reader *fs, const struct ext4_inode *inode, char *target, size_t size)
{
  if (inode->size == 0 || inode->size >= size || inode->size > fs->block_size)
    return ext4_error(fs, -EBADMSG, "a link's target can't be right");
  const uint8_t *bytes = inode->root;
  int result = 0;
  if (inode->size >= sizeof inode->root) {
    struct ext4_extents extents = {0};
    result = ext4_map(fs, inode, &extents);
    if (result == 0 && (extents.count != 1 || extents.list[0].logical != 0))
      result = ext4_error(fs, -EBADMSG, "a link's target can't be right");
    if (result == 0) result = ext4_kept_block(fs, extents.list[0].start, &bytes);
    ext4_extents_release(&extents);
  }
  if (result < 0) return result;
  memcpy(target, bytes, inode->size);
  target[inode->size] = 0;
  if (strlen(target) == inode->size) return 0;
  return ext4_error(fs, -EBADMSG, "a link's target can't be right");
}
