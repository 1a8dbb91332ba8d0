/* Whether a file is what it was. See diff.h. */
#define _GNU_SOURCE 1
#include "diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Attributes of one inode in a row, to be compared. */
struct attributes {
  uint8_t *bytes;
  size_t length;
  bool failed;
};

static int gather(void *context, const char *name, const uint8_t *value, size_t length)
{
  struct attributes *all = context;
  size_t name_size = strlen(name) + 1;
  uint8_t *bytes = realloc(all->bytes, all->length + name_size + sizeof length + length);
  if (bytes == NULL) return -ENOMEM;
  all->bytes = bytes;
  memcpy(bytes + all->length, name, name_size);
  memcpy(bytes + all->length + name_size, &length, sizeof length);
  if (length > 0) memcpy(bytes + all->length + name_size + sizeof length, value, length);
  all->length += name_size + sizeof length + length;
  return 0;
}

static int same_attributes(hutch_diff *diff, const struct ext4_inode *inode,
                           const struct ext4_inode *base)
{
  struct attributes one = {0}, other = {0};
  int result = ext4_attributes(&diff->disk, inode, gather, &one);
  if (result == 0) result = ext4_attributes(&diff->base, base, gather, &other);
  if (result == 0)
    result = one.length == other.length &&
             (one.length == 0 || memcmp(one.bytes, other.bytes, one.length) == 0);
  free(one.bytes);
  free(other.bytes);
  return result;
}

/* Whether a block is as it was in the base: mostly nobody has written there. */
static int same_block(hutch_diff *diff, uint64_t block)
{
  struct ext4_reader *disk = &diff->disk;
  uint32_t number;
  struct chain_piece piece;
  if (block >= diff->base.block_count) return 0;
  if (journal_find(&disk->journal, block) == NULL) {
    int result = chain_find(disk->chain, block * disk->block_size, disk->block_size, &number, &piece);
    if (result < 0) return ext4_error(disk, result, "%s", hutch_chain_error(disk->chain));
    if (number == disk->chain->count - 1 && piece.length >= disk->block_size) return 1;
  }
  uint8_t *bytes = malloc(2 * (size_t)disk->block_size);
  if (bytes == NULL) return ext4_error(disk, -ENOMEM, "out of memory");
  int result = ext4_block(disk, block, bytes);
  if (result == 0) result = ext4_block(&diff->base, block, bytes + disk->block_size);
  if (result == 0) result = memcmp(bytes, bytes + disk->block_size, disk->block_size) == 0;
  free(bytes);
  return result;
}

static int same_blocks(hutch_diff *diff, const struct ext4_inode *inode)
{
  struct ext4_extents extents = {0};
  int result = ext4_map(&diff->disk, inode, &extents);
  if (result == 0) result = 1;
  for (size_t i = 0; i < extents.table_count && result == 1; i++)
    result = same_block(diff, extents.tables[i]);
  for (size_t i = 0; i < extents.count && result == 1; i++)
    for (uint64_t at = 0; at < extents.list[i].count && result == 1; at++)
      result = same_block(diff, extents.list[i].start + at);
  ext4_extents_release(&extents);
  return result;
}

int diff_same(hutch_diff *diff, const struct ext4_inode *inode, const struct ext4_inode *base)
{
  uint32_t kind = inode->mode & S_IFMT;
  if (inode->mode != base->mode || inode->uid != base->uid || inode->gid != base->gid ||
      inode->seconds != base->seconds || inode->nanos != base->nanos)
    return 0;
  if (kind != S_IFDIR) {
    /* Files that look alike and are others may hold something else. */
    if (inode->number != base->number || inode->generation != base->generation ||
        inode->size != base->size || memcmp(inode->root, base->root, sizeof inode->root) != 0)
      return 0;
    bool mapped = kind == S_IFREG || (kind == S_IFLNK && inode->size >= sizeof inode->root);
    int result = mapped ? same_blocks(diff, inode) : 1;
    if (result != 1) return result;
  }
  return same_attributes(diff, inode, base);
}
