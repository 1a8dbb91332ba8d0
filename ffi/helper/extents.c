/* Extent trees, built from the bottom up: leaves are full but for the last one. */
#include "finish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER 12u
#define ENTRY 12u
#define ROOT_SIZE 60u
#define ROOT_ENTRIES 4u
#define BLOCK_ENTRIES 340u
#define MAGIC 0xf30au

/* One entry of a level: an extent, or the block that holds the level below. */
struct level_entry {
  uint32_t logical, count;
  uint64_t block;
};

static void put_level(uint8_t *place, uint32_t max, uint32_t depth, const struct level_entry *entries,
                      uint32_t count)
{
  put16(place, MAGIC);
  put16(place + 2, count);
  put16(place + 4, max);
  put16(place + 6, depth);
  put32(place + 8, 0);
  for (uint32_t i = 0; i < count; i++) {
    uint8_t *entry = place + HEADER + (size_t)i * ENTRY;
    uint32_t low = (uint32_t)entries[i].block, high = (uint32_t)(entries[i].block >> 32);
    put32(entry, entries[i].logical);
    if (depth == 0) {
      put16(entry + 4, entries[i].count);
      put16(entry + 6, high);
      put32(entry + 8, low);
    } else {
      put32(entry + 4, low);
      put16(entry + 8, high);
      put16(entry + 10, 0);
    }
  }
}

/* Writes one level into blocks; `entries` becomes the level above. */
static int write_level(struct build *build, struct inode *inode, uint32_t depth,
                       struct level_entry *entries, uint32_t *count)
{
  struct hutch_ext4 *fs = build->fs;
  uint32_t seed = inode_checksum_seed(build, inode->number), above = 0;
  for (uint32_t at = 0; at < *count; at += BLOCK_ENTRIES) {
    uint8_t block[BLOCK_SIZE] = {0};
    uint32_t part = *count - at < BLOCK_ENTRIES ? *count - at : BLOCK_ENTRIES;
    put_level(block, BLOCK_ENTRIES, depth, entries + at, part);
    checksum_extent_block(seed, block);
    uint64_t start;
    if (space_take(&fs->space, 1, &start) == 0)
      return image_error(fs, -EFBIG, "the image is too large");
    int result = output_write(&fs->output, start * BLOCK_SIZE, block, sizeof block);
    if (result < 0) return image_error(fs, result, "%s", strerror(-result));
    inode->blocks++;
    entries[above++] = (struct level_entry){entries[at].logical, 0, start};
  }
  *count = above;
  return 0;
}

static int write_tree(struct build *build, struct inode *inode, struct level_entry *entries,
                      uint8_t *root)
{
  uint32_t count = inode->extent_count, depth = 0;
  const struct extent *extents = inode_extents(inode);
  for (uint32_t i = 0; i < count; i++)
    entries[i] = (struct level_entry){extents[i].logical, extents[i].count, extents[i].start};
  int result = 0;
  for (; result == 0 && count > ROOT_ENTRIES; depth++)
    result = write_level(build, inode, depth, entries, &count);
  if (result == 0) put_level(root, ROOT_ENTRIES, depth, entries, count);
  return result;
}

int extents_write(struct build *build, struct inode *inode)
{
  if (inode->extent_count <= ROOT_ENTRIES) return 0;
  uint8_t *root = calloc(1, ROOT_SIZE);
  struct level_entry *entries = calloc(inode->extent_count, sizeof *entries);
  int result = root == NULL || entries == NULL ? image_error(build->fs, -ENOMEM, "out of memory")
                                               : write_tree(build, inode, entries, root);
  free(entries);
  if (result < 0) {
    free(root);
    return result;
  }
  inode_forget_extents(build->fs, inode);
  inode->root = root;
  inode->has_root = true;
  return 0;
}

void extents_root(const struct inode *inode, uint8_t *place)
{
  if (inode->has_root) {
    memcpy(place, inode->root, ROOT_SIZE);
    return;
  }
  struct level_entry entries[ROOT_ENTRIES];
  const struct extent *extents = inode_extents(inode);
  for (uint32_t i = 0; i < inode->extent_count; i++)
    entries[i] = (struct level_entry){extents[i].logical, extents[i].count, extents[i].start};
  put_level(place, ROOT_ENTRIES, 0, entries, inode->extent_count);
}
