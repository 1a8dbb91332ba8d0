/* Turns the tree in memory into an ext4 file system around the data already written. */
#include "finish.h"
#include "layer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int system_error(struct hutch_ext4 *fs)
{
  int number = errno;
  return image_error(fs, -number, "%s", strerror(number));
}

/* Blocks of removed files: they must read as zeros, since tables may come to lie there. */
static int clear_holes(struct hutch_ext4 *fs)
{
  space_reuse(&fs->space);
  for (size_t i = 0; i < fs->space.count; i++) {
    struct range hole = fs->space.free[i];
    int result = output_punch(&fs->output, hole.start * BLOCK_SIZE, hole.count * BLOCK_SIZE);
    if (result < 0) return image_error(fs, result, "%s", strerror(-result));
  }
  return 0;
}

static void number_inode(struct build *build, struct inode *inode)
{
  if (inode->number != 0) return;
  build->inodes[build->inode_count] = inode;
  inode->number = FIRST_INODE + build->inode_count++;
}

static int number_inodes(struct build *build)
{
  struct tree *tree = &build->fs->tree;
  build->inodes = calloc(tree->node_count + 1, sizeof *build->inodes);
  if (build->inodes == NULL) return image_error(build->fs, -ENOMEM, "out of memory");
  tree->root->inode->number = EXT2_ROOT_INO;
  build->attribute_inodes = tree->root->inode->attributes != NULL;
  for (struct node *node = tree_next(tree->root, tree->root); node != NULL;
       node = tree_next(tree->root, node))
    number_inode(build, node->inode);
  for (uint32_t i = 0; i < build->inode_count; i++)
    if (build->inodes[i]->attributes != NULL) build->attribute_inodes++;
  return 0;
}

static int write_folders(struct build *build)
{
  const struct node *root = build->fs->tree.root;
  int result = 0;
  for (const struct node *node = root; node != NULL && result == 0; node = tree_next(root, node))
    if (is_folder(node)) result = folder_write(build, node);
  return result;
}

static int write_extents(struct build *build)
{
  int result = extents_write(build, build->fs->tree.root->inode);
  for (uint32_t i = 0; i < build->inode_count && result == 0; i++)
    result = extents_write(build, build->inodes[i]);
  return result;
}

static void set_seeds(struct build *build)
{
  const uint8_t *uuid = build->fs->options.uuid;
  build->checksum_seed = ext2fs_crc32c_le(~0u, uuid, sizeof build->fs->options.uuid);
  memcpy(build->hash_seed, uuid, sizeof build->hash_seed);
  build->hash_seed[3] ^= 0x68757463; /* just not the uuid itself */
}

static int flush(struct hutch_ext4 *fs)
{
  int result = output_flush(&fs->output);
  return result < 0 ? image_error(fs, result, "%s", strerror(-result)) : 0;
}

static int build_all(struct build *build)
{
  struct hutch_ext4 *fs = build->fs;
  set_seeds(build);
  int result = clear_holes(fs);
  if (result == 0) result = number_inodes(build);
  if (result == 0) result = write_folders(build);
  if (result == 0) result = write_extents(build);
  if (result == 0) result = layout_plan(build);
  if (result == 0) result = flush(fs);
  if (result == 0 && ftruncate(fs->output.file, (off_t)(build->block_count * BLOCK_SIZE)) < 0)
    result = system_error(fs);
  if (result == 0) result = super_begin(build);
  if (result == 0) result = inodes_write(build);
  if (result == 0) result = super_journal(build);
  if (result == 0) result = flush(fs); /* from here on libext2fs reads what we wrote */
  if (result == 0) result = attributes_write(build);
  if (result == 0) result = super_end(build);
  if (result == 0 && fsync(fs->output.file) < 0) result = system_error(fs);
  return result;
}

int hutch_ext4_finish(hutch_ext4 *fs)
{
  int result = image_ready(fs);
  if (result < 0) return result;
  struct build build = {.fs = fs};
  result = build_all(&build);
  if (build.disk != NULL) ext2fs_free(build.disk);
  free(build.inodes);
  free(build.groups);
  fs->finished = true;
  if (result < 0) fs->failed = result;
  return result;
}
