/* Where a file's blocks are: its tree of extents. See ext4_read.h. */
#define _GNU_SOURCE 1
#include "ext4_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EXTENT_MAGIC 0xf30au
#define USES_EXTENTS 0x80000u
#define ENCRYPTED 0x800u
#define MOST_EXTENTS (UINT64_C(1) << 24)
#define MOST_TABLES (UINT64_C(1) << 20)
#define WRITTEN 32768u /* longer ones were given, but not written yet */

static int add_extent(struct ext4_reader *fs, struct ext4_extents *extents,
                      struct ext4_extent extent)
{
  struct ext4_extent *last = extents->count > 0 ? &extents->list[extents->count - 1] : NULL;
  if (last != NULL && extent.logical < last->logical + last->count)
    return ext4_error(fs, -EBADMSG, "a file's extents are out of order");
  if (extent.start >= fs->block_count || extent.count > fs->block_count - extent.start)
    return ext4_error(fs, -EBADMSG, "a file's extent is behind the end");
  if (last != NULL && last->logical + last->count == extent.logical &&
      last->start + last->count == extent.start) {
    last->count += extent.count;
    return 0;
  }
  if (extents->count == extents->capacity) {
    size_t capacity = extents->capacity * 2 + 4;
    struct ext4_extent *list = realloc(extents->list, capacity * sizeof *list);
    if (list == NULL || capacity > MOST_EXTENTS) {
      if (list != NULL) extents->list = list;
      return ext4_error(fs, -ENOMEM, "a file has too many extents");
    }
    extents->list = list;
    extents->capacity = capacity;
  }
  extents->list[extents->count++] = extent;
  return 0;
}

static int add_table(struct ext4_reader *fs, struct ext4_extents *extents, uint64_t block)
{
  if (extents->table_count == extents->table_capacity) {
    size_t capacity = extents->table_capacity * 2 + 4;
    uint64_t *tables = realloc(extents->tables, capacity * sizeof *tables);
    if (tables == NULL || capacity > MOST_TABLES) {
      if (tables != NULL) extents->tables = tables;
      return ext4_error(fs, -ENOMEM, "a file has too many extents");
    }
    extents->tables = tables;
    extents->table_capacity = capacity;
  }
  extents->tables[extents->table_count++] = block;
  return 0;
}

static int walk(struct ext4_reader *fs, const uint8_t *node, size_t size, uint32_t depth,
                struct ext4_extents *extents);

static int walk_table(struct ext4_reader *fs, uint64_t block, uint32_t depth,
                      struct ext4_extents *extents)
{
  uint8_t *bytes = malloc(fs->block_size);
  if (bytes == NULL) return ext4_error(fs, -ENOMEM, "out of memory");
  int result = add_table(fs, extents, block);
  if (result == 0) result = ext4_block(fs, block, bytes);
  if (result == 0) result = walk(fs, bytes, fs->block_size, depth, extents);
  free(bytes);
  return result;
}

static int walk(struct ext4_reader *fs, const uint8_t *node, size_t size, uint32_t depth,
                struct ext4_extents *extents)
{
  uint32_t count = le16_at(node + 2);
  if (le16_at(node) != EXTENT_MAGIC || le16_at(node + 6) != depth || 12 + count * 12u > size)
    return ext4_error(fs, -EBADMSG, "a file's tree of extents can't be right");
  int result = 0;
  for (uint32_t i = 0; i < count && result == 0; i++) {
    const uint8_t *at = node + 12 + i * 12u;
    if (depth > 0) {
      result = walk_table(fs, le32_at(at + 4) | (uint64_t)le16_at(at + 8) << 32, depth - 1,
                          extents);
      continue;
    }
    uint32_t length = le16_at(at + 4);
    if (length == 0) result = ext4_error(fs, -EBADMSG, "a file's extent is empty");
    if (length > WRITTEN || length == 0) continue;
    struct ext4_extent extent = {le32_at(at), length,
                                 le32_at(at + 8) | (uint64_t)le16_at(at + 6) << 32};
    result = add_extent(fs, extents, extent);
  }
  return result;
}

static int by_start(const void *a, const void *b)
{
  const struct ext4_extent *one = a, *other = b;
  return (one->start > other->start) - (one->start < other->start);
}

/* The number of the first extent that doesn't begin behind the one before it; `count` when all do. */
static size_t first_back(const struct ext4_extent *list, size_t count)
{
  for (size_t i = 1; i < count; i++)
    if (list[i].start < list[i - 1].start + list[i - 1].count) return i;
  return count;
}

/* No two extents have a block in common. A file's bytes would have no limit otherwise: one block of the
 * disk could be all of its four thousand million. Mostly they follow each other, and nothing is sorted. */
static int check_apart(struct ext4_reader *fs, const struct ext4_extents *extents)
{
  size_t count = extents->count;
  if (first_back(extents->list, count) == count) return 0;
  struct ext4_extent *sorted = malloc(count * sizeof *sorted);
  if (sorted == NULL) return ext4_error(fs, -ENOMEM, "out of memory");
  memcpy(sorted, extents->list, count * sizeof *sorted);
  qsort(sorted, count, sizeof *sorted, by_start);
  bool apart = first_back(sorted, count) == count;
  free(sorted);
  return apart ? 0 : ext4_error(fs, -EBADMSG, "a file has blocks of the disk twice");
}

int ext4_map(struct ext4_reader *fs, const struct ext4_inode *inode, struct ext4_extents *extents)
{
  uint32_t depth = le16_at(inode->root + 6);
  if (inode->flags & ENCRYPTED) return ext4_error(fs, -ENOTSUP, "a file is encrypted");
  if ((inode->flags & USES_EXTENTS) == 0) {
    if (inode->size == 0) return 0;
    return ext4_error(fs, -ENOTSUP, "a file has a map as ext3 has them");
  }
  if (depth > EXT4_MAX_DEPTH) return ext4_error(fs, -EBADMSG, "a file's tree is too deep");
  int result = walk(fs, inode->root, sizeof inode->root, depth, extents);
  return result < 0 ? result : check_apart(fs, extents);
}

const struct ext4_extent *ext4_extent_of(const struct ext4_extents *extents, uint64_t logical)
{
  size_t low = 0, high = extents->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const struct ext4_extent *extent = &extents->list[middle];
    if (logical < extent->logical) high = middle;
    else if (logical - extent->logical < extent->count) return extent;
    else low = middle + 1;
  }
  return NULL;
}

void ext4_extents_release(struct ext4_extents *extents)
{
  free(extents->list);
  free(extents->tables);
  *extents = (struct ext4_extents){0};
}
