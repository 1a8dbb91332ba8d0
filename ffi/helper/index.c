/* Hash trees of large folders (dir_index): root, maybe nodes, and leaves with names in the order
 * of their hashes. */
#include "finish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TAIL 12u
#define ROOT_HEADER 32u /* two dot entries and the tree's facts */
#define NODE_HEADER 8u  /* an entry that covers the block */
#define INDEX_ENTRY 8u
#define ROOT_LIMIT ((BLOCK_SIZE - ROOT_HEADER - 8) / INDEX_ENTRY)
#define NODE_LIMIT ((BLOCK_SIZE - NODE_HEADER - 8) / INDEX_ENTRY)
/* The kernel keeps the highest hash as an end mark. */
#define LAST_HASH 0xfffffffeu

struct leaf {
  size_t first, count;
  uint32_t hash; /* of its first name; odd when the leaf before ends with the same one */
};

static int by_hash(const void *left, const void *right)
{
  const struct item *a = left, *b = right;
  if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
  if (a->minor != b->minor) return a->minor < b->minor ? -1 : 1;
  return a->order < b->order ? -1 : a->order > b->order;
}

static void sort_by_hash(const struct build *build, struct item *items, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    ext2_dirhash_t hash = 0, minor = 0;
    ext2fs_dirhash(EXT2_HASH_HALF_MD4, items[i].name, items[i].length, build->hash_seed, &hash,
                   &minor);
    items[i].hash = hash == LAST_HASH ? LAST_HASH - 2 : hash;
    items[i].minor = minor;
  }
  qsort(items, count, sizeof *items, by_hash);
}

static size_t cut_leaves(const struct item *items, size_t count, struct leaf *leaves)
{
  size_t used = BLOCK_SIZE, leaf_count = 0;
  for (size_t i = 0; i < count; i++) {
    size_t size = item_size(items[i].length);
    if (used + size > BLOCK_SIZE - TAIL) {
      uint32_t same = i > 0 && items[i - 1].hash == items[i].hash;
      leaves[leaf_count++] = (struct leaf){.first = i, .hash = items[i].hash | same};
      used = 0;
    }
    used += size;
    leaves[leaf_count - 1].count++;
  }
  return leaf_count;
}

static void put_root(uint8_t *block, const struct node *folder, uint32_t levels)
{
  put32(block, folder->inode->number);
  put16(block + 4, 12);
  block[6] = 1, block[7] = EXT2_FT_DIR, block[8] = '.';
  put32(block + 12, folder->parent->inode->number);
  put16(block + 16, BLOCK_SIZE - 12);
  block[18] = 2, block[19] = EXT2_FT_DIR, block[20] = '.', block[21] = '.';
  block[28] = EXT2_HASH_HALF_MD4;
  block[29] = 8; /* length of these facts */
  block[30] = (uint8_t)levels;
}

/* Fills an index block's entries; the first one's hash is taken by limit and count. */
static void put_index(uint8_t *block, size_t header, uint32_t limit, const struct leaf *leaves,
                      size_t step, size_t count, uint32_t first_block)
{
  for (size_t i = 0; i < count; i++) {
    uint8_t *entry = block + header + i * INDEX_ENTRY;
    put32(entry, leaves[i * step].hash);
    put32(entry + 4, first_block + (uint32_t)i);
  }
  put16(block + header, limit);
  put16(block + header + 2, (uint32_t)count);
}

static int put_blocks(struct build *build, const struct node *folder, const struct item *items,
                      const struct leaf *leaves, size_t leaf_count, uint8_t **blocks,
                      size_t *block_count)
{
  size_t nodes = leaf_count <= ROOT_LIMIT ? 0 : (leaf_count + NODE_LIMIT - 1) / NODE_LIMIT;
  if (nodes > ROOT_LIMIT) return image_error(build->fs, -EFBIG, "a folder has too many entries");
  uint32_t seed = inode_checksum_seed(build, folder->inode->number);
  uint8_t *block = calloc(1 + nodes + leaf_count, BLOCK_SIZE);
  if (block == NULL) return image_error(build->fs, -ENOMEM, "out of memory");
  *blocks = block;
  *block_count = 1 + nodes + leaf_count;
  put_root(block, folder, nodes > 0);
  put_index(block, ROOT_HEADER, ROOT_LIMIT, leaves, nodes > 0 ? NODE_LIMIT : 1,
            nodes > 0 ? nodes : leaf_count, 1);
  checksum_index_block(seed, block, ROOT_HEADER);
  for (size_t i = 0; i < nodes; i++) {
    size_t first = i * NODE_LIMIT;
    size_t count = leaf_count - first < NODE_LIMIT ? leaf_count - first : NODE_LIMIT;
    block += BLOCK_SIZE;
    put16(block + 4, BLOCK_SIZE);
    put_index(block, NODE_HEADER, NODE_LIMIT, leaves + first, 1, count,
              (uint32_t)(1 + nodes + first));
    checksum_index_block(seed, block, NODE_HEADER);
  }
  for (size_t i = 0; i < leaf_count; i++) {
    block += BLOCK_SIZE;
    folder_block(block, 0, 0, items + leaves[i].first, leaves[i].count);
    checksum_folder_block(seed, block);
  }
  return 0;
}

int index_build(struct build *build, const struct node *folder, struct item *items, size_t count,
                uint8_t **blocks, size_t *block_count)
{
  struct leaf *leaves = calloc(count, sizeof *leaves);
  if (leaves == NULL) return image_error(build->fs, -ENOMEM, "out of memory");
  sort_by_hash(build, items, count);
  size_t leaf_count = cut_leaves(items, count, leaves);
  int result = put_blocks(build, folder, items, leaves, leaf_count, blocks, block_count);
  free(leaves);
  return result;
}
