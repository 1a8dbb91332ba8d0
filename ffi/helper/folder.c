/* Folders' blocks: one block as a plain list; more as leaves of a hash tree (index.c), so that
 * the guest finds a name among many at once. */
#include "finish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TAIL 12u

size_t item_size(size_t name_length)
{
  return (8 + name_length + 3) / 4 * 4;
}

static void put_item(uint8_t *place, const struct item *item, size_t record)
{
  put32(place, item->number);
  put16(place + 4, (uint32_t)record);
  place[6] = item->length;
  place[7] = item->type;
  memcpy(place + 8, item->name, item->length);
}

void folder_block(uint8_t *block, size_t at, size_t last, const struct item *items, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    last = at;
    at += item_size(items[i].length);
    put_item(block + last, &items[i], at - last);
  }
  put16(block + last + 4, (uint32_t)(BLOCK_SIZE - TAIL - last));
}

static uint8_t type_of(uint32_t mode)
{
  switch (mode & S_IFMT) {
  case S_IFREG: return EXT2_FT_REG_FILE;
  case S_IFDIR: return EXT2_FT_DIR;
  case S_IFCHR: return EXT2_FT_CHRDEV;
  case S_IFBLK: return EXT2_FT_BLKDEV;
  case S_IFIFO: return EXT2_FT_FIFO;
  case S_IFLNK: return EXT2_FT_SYMLINK;
  default: return EXT2_FT_UNKNOWN;
  }
}

static size_t count_children(const struct node *folder, size_t *bytes)
{
  size_t count = 0;
  *bytes = 0;
  for (const struct node *child = folder->inode->first; child != NULL; child = child->next) {
    *bytes += item_size(child->length);
    count++;
  }
  return count;
}

static struct item *list_children(const struct node *folder, size_t count)
{
  struct item *items = calloc(count + 1, sizeof *items);
  if (items == NULL) return NULL;
  struct item *item = items;
  for (const struct node *child = folder->inode->first; child != NULL; child = child->next, item++)
    *item = (struct item){.number = child->inode->number, .order = (uint32_t)(item - items),
                          .name = child->name, .length = child->length,
                          .type = type_of(child->inode->mode)};
  return items;
}

/* Writes blocks that have their checksums to new blocks of the folder. */
static int store(struct build *build, struct inode *inode, const uint8_t *blocks, size_t count)
{
  struct hutch_ext4 *fs = build->fs;
  inode->size = (uint64_t)count * BLOCK_SIZE;
  int result = data_blocks(fs, inode, 0, count);
  if (result < 0) return result;
  struct writer writer;
  data_begin(&writer, inode);
  return data_write(fs, &writer, 0, blocks, count * BLOCK_SIZE);
}

static int write_list(struct build *build, const struct node *folder, const struct item *items,
                      size_t count)
{
  uint8_t block[BLOCK_SIZE] = {0};
  struct item dots[2] = {
      {.number = folder->inode->number, .name = ".", .length = 1, .type = EXT2_FT_DIR},
      {.number = folder->parent->inode->number, .name = "..", .length = 2, .type = EXT2_FT_DIR}};
  folder_block(block, 0, 0, dots, 2);
  put16(block + 12 + 4, 12);
  folder_block(block, 24, 12, items, count);
  checksum_folder_block(inode_checksum_seed(build, folder->inode->number), block);
  return store(build, folder->inode, block, 1);
}

int folder_write(struct build *build, const struct node *folder)
{
  size_t bytes, count = count_children(folder, &bytes);
  struct item *items = list_children(folder, count);
  if (items == NULL) return image_error(build->fs, -ENOMEM, "out of memory");
  int result;
  if (24 + bytes <= BLOCK_SIZE - TAIL) {
    result = write_list(build, folder, items, count);
  } else {
    uint8_t *blocks = NULL;
    size_t block_count = 0;
    result = index_build(build, folder, items, count, &blocks, &block_count);
    if (result == 0) result = store(build, folder->inode, blocks, block_count);
    free(blocks);
  }
  free(items);
  return result;
}
