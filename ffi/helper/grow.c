/* What changes in an image when its file system gets room for a start: superblock, descriptors of new
 * groups and the resize inode. The image itself is only read; whoever asks puts the clusters over it. The
 * machine grows its file system to the disk's size itself, which takes it a while: so it needn't before
 * its first command. */
#include "finish.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER_BLOCKS (HUTCH_GROWTH_CLUSTER / BLOCK_SIZE)
/* The room: nine groups, so that a GiB is left of it beside their tables. */
#define NEW_GROUPS 9u
/* One block of descriptors: larger images have more of them, and more copies, than are worth having twice. */
#define MOST_GROUPS GROUPS_PER_DESCRIPTOR
/* A last group with less room than this beside its tables isn't worth being one. */
#define LEAST_ROOM 64u
#define DOUBLE_INDIRECT 13u

struct growth {
  int file;
  uint64_t *places;  /* of the clusters, in bytes */
  uint8_t *clusters;
  uint32_t count;
  struct ext2_super_block *super; /* in its cluster */
  struct ext4_group_desc *groups; /* the same */
  uint64_t old_blocks, blocks;
  uint32_t old_count, group_count;
  uint32_t per_group, table_blocks, seed;
  int failed;
};

/* The block as it is to be, for changing; NULL once anything failed. */
static uint8_t *block_at(struct growth *growth, uint64_t block)
{
  uint64_t place = block / CLUSTER_BLOCKS * HUTCH_GROWTH_CLUSTER;
  if (growth->failed != 0) return NULL;
  uint32_t at = 0;
  while (at < growth->count && growth->places[at] != place) at++;
  uint8_t *cluster = growth->clusters + (size_t)at * HUTCH_GROWTH_CLUSTER;
  if (at == growth->count) {
    if (at == HUTCH_GROWTH_CLUSTERS) {
      growth->failed = -ENOTSUP;
      return NULL;
    }
    memset(cluster, 0, HUTCH_GROWTH_CLUSTER);
    for (size_t done = 0; done < HUTCH_GROWTH_CLUSTER;) {
      ssize_t got = pread(growth->file, cluster + done, HUTCH_GROWTH_CLUSTER - done, (off_t)(place + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) growth->failed = -errno;
      if (got <= 0) break; /* behind its end it's zero */
      done += (size_t)got;
    }
    if (growth->failed != 0) return NULL;
    growth->places[growth->count++] = place;
  }
  return cluster + block % CLUSTER_BLOCKS * BLOCK_SIZE;
}

static uint64_t group_start(uint32_t group)
{
  return (uint64_t)group * GROUP_BLOCKS;
}

static uint64_t group_end(const struct growth *growth, uint32_t group)
{
  uint64_t end = group_start(group) + GROUP_BLOCKS;
  return end > growth->blocks ? growth->blocks : end;
}

static uint32_t super_blocks(uint32_t group)
{
  return group_has_super(group) ? 1 + DESCRIPTOR_BLOCKS : 0;
}

static uint32_t backups(uint32_t groups)
{
  uint32_t count = 0;
  for (uint32_t group = 1; group < groups; group++) count += group_has_super(group);
  return count;
}

/* ---- is it one of ours? -------------------------------------------------------------------- */

static bool is_known(const struct ext2_super_block *super)
{
  const uint32_t compatible = EXT2_FEATURE_COMPAT_RESIZE_INODE | EXT2_FEATURE_COMPAT_DIR_INDEX |
                              EXT2_FEATURE_COMPAT_EXT_ATTR | EXT3_FEATURE_COMPAT_HAS_JOURNAL;
  const uint32_t incompatible = EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS |
                                EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_64BIT;
  return super->s_magic == EXT2_SUPER_MAGIC && super->s_feature_compat == compatible &&
         super->s_feature_incompat == incompatible &&
         (super->s_feature_ro_compat & EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER) != 0 &&
         (super->s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM) != 0 &&
         (super->s_feature_ro_compat & EXT4_FEATURE_RO_COMPAT_BIGALLOC) == 0 &&
         super->s_first_data_block == 0 && super->s_log_block_size == 2 &&
         super->s_blocks_per_group == GROUP_BLOCKS && super->s_inode_size == INODE_SIZE &&
         super->s_desc_size == EXT2_MIN_DESC_SIZE_64BIT && super->s_inodes_per_group >= BLOCK_SIZE / INODE_SIZE &&
         super->s_inodes_per_group % (BLOCK_SIZE / INODE_SIZE) == 0 && super->s_inodes_per_group <= 8 * BLOCK_SIZE;
}

static uint64_t wide(uint32_t low, uint32_t high)
{
  return (uint64_t)high << 32 | low;
}

static bool read_sizes(struct growth *growth)
{
  const struct ext2_super_block *super = growth->super;
  growth->old_blocks = wide(super->s_blocks_count, super->s_blocks_count_hi);
  if (growth->old_blocks <= DESCRIPTOR_BLOCKS || growth->old_blocks > MAX_BLOCKS) return false;
  growth->old_count = (uint32_t)((growth->old_blocks + GROUP_BLOCKS - 1) / GROUP_BLOCKS);
  growth->per_group = super->s_inodes_per_group;
  growth->table_blocks = growth->per_group / (BLOCK_SIZE / INODE_SIZE);
  growth->seed = ext2fs_crc32c_le(~0u, super->s_uuid, sizeof super->s_uuid);
  return growth->old_count <= MOST_GROUPS && super->s_inodes_count == growth->old_count * growth->per_group &&
         super->s_reserved_gdt_blocks == DESCRIPTOR_BLOCKS - 1;
}

/* How large it is to be; not at all, when too little is left for another group. */
static bool plan(struct growth *growth, uint64_t bytes)
{
  uint64_t blocks = bytes / BLOCK_SIZE;
  uint32_t groups = growth->old_count + NEW_GROUPS;
  if (groups > MOST_GROUPS) groups = MOST_GROUPS;
  uint64_t most = (uint64_t)groups * GROUP_BLOCKS;
  if (blocks > most) blocks = most; /* the machine does the rest itself */
  uint64_t rest = blocks % GROUP_BLOCKS;
  uint32_t last = (uint32_t)(blocks / GROUP_BLOCKS);
  if (last >= growth->old_count && rest < super_blocks(last) + 2 + growth->table_blocks + LEAST_ROOM) blocks -= rest;
  growth->blocks = blocks;
  growth->group_count = (uint32_t)((blocks + GROUP_BLOCKS - 1) / GROUP_BLOCKS);
  return blocks > growth->old_blocks;
}

/* ---- groups -------------------------------------------------------------------------------- */

static void set_descriptor_checksum(struct growth *growth, uint32_t group)
{
  struct ext4_group_desc *descriptor = &growth->groups[group];
  uint8_t number[4];
  descriptor->bg_checksum = 0;
  memcpy(number, &group, sizeof number);
  uint32_t sum = ext2fs_crc32c_le(growth->seed, number, sizeof number);
  descriptor->bg_checksum = (uint16_t)ext2fs_crc32c_le(sum, (const uint8_t *)descriptor, sizeof *descriptor);
}

static void set_free_blocks(struct ext4_group_desc *descriptor, uint32_t count)
{
  descriptor->bg_free_blocks_count = (uint16_t)count;
  descriptor->bg_free_blocks_count_hi = (uint16_t)(count >> 16);
}

static void set_bitmap_checksum(struct growth *growth, struct ext4_group_desc *descriptor, const uint8_t *bitmap)
{
  uint32_t sum = ext2fs_crc32c_le(growth->seed, bitmap, BLOCK_SIZE);
  descriptor->bg_block_bitmap_csum_lo = (uint16_t)sum;
  descriptor->bg_block_bitmap_csum_hi = (uint16_t)(sum >> 16);
}

static void mark(uint8_t *bitmap, uint32_t from, uint32_t to, bool used)
{
  for (uint32_t bit = from; bit < to; bit++) {
    if (used) bitmap[bit / 8] |= (uint8_t)(1 << bit % 8);
    else bitmap[bit / 8] &= (uint8_t)~(1 << bit % 8);
  }
}

/* Lengthens the last group that there is; returns how many blocks it gained. */
static uint32_t lengthen(struct growth *growth)
{
  uint32_t group = growth->old_count - 1;
  struct ext4_group_desc *descriptor = &growth->groups[group];
  uint32_t from = (uint32_t)(growth->old_blocks - group_start(group));
  uint32_t to = (uint32_t)(group_end(growth, group) - group_start(group));
  uint64_t place = wide(descriptor->bg_block_bitmap, descriptor->bg_block_bitmap_hi);
  if (from == to) return 0;
  if ((descriptor->bg_flags & EXT2_BG_BLOCK_UNINIT) != 0 || place >= growth->old_blocks) growth->failed = -ENOTSUP;
  uint8_t *bitmap = block_at(growth, place);
  if (bitmap == NULL) return 0;
  mark(bitmap, from, to, false);
  set_bitmap_checksum(growth, descriptor, bitmap);
  uint32_t count = wide(descriptor->bg_free_blocks_count, 0) | (uint32_t)descriptor->bg_free_blocks_count_hi << 16;
  set_free_blocks(descriptor, count + to - from);
  set_descriptor_checksum(growth, group);
  return to - from;
}

/* A group with its own bitmaps and table at its start, all of which read zero; returns its free blocks.
 * The bitmap of the last one is there, as every ext4 has it. */
static uint32_t add_group(struct growth *growth, uint32_t group)
{
  struct ext4_group_desc *descriptor = &growth->groups[group];
  uint64_t start = group_start(group) + super_blocks(group);
  uint32_t size = (uint32_t)(group_end(growth, group) - group_start(group));
  uint32_t used = super_blocks(group) + 2 + growth->table_blocks;
  uint64_t table = start + 2;
  *descriptor = (struct ext4_group_desc){
    .bg_block_bitmap = (uint32_t)start, .bg_block_bitmap_hi = (uint32_t)(start >> 32),
    .bg_inode_bitmap = (uint32_t)(start + 1), .bg_inode_bitmap_hi = (uint32_t)((start + 1) >> 32),
    .bg_inode_table = (uint32_t)table, .bg_inode_table_hi = (uint32_t)(table >> 32),
    .bg_free_inodes_count = (uint16_t)growth->per_group, .bg_free_inodes_count_hi = (uint16_t)(growth->per_group >> 16),
    .bg_itable_unused = (uint16_t)growth->per_group, .bg_itable_unused_hi = (uint16_t)(growth->per_group >> 16),
    .bg_flags = EXT2_BG_INODE_UNINIT | EXT2_BG_BLOCK_UNINIT | EXT2_BG_INODE_ZEROED,
  };
  set_free_blocks(descriptor, size - used);
  if (group == growth->group_count - 1) {
    uint8_t *bitmap = block_at(growth, start);
    if (bitmap == NULL) return 0;
    memset(bitmap, 0, BLOCK_SIZE);
    mark(bitmap, 0, used, true);
    mark(bitmap, size, GROUP_BLOCKS, true);
    descriptor->bg_flags &= (uint16_t)~EXT2_BG_BLOCK_UNINIT;
    set_bitmap_checksum(growth, descriptor, bitmap);
  }
  set_descriptor_checksum(growth, group);
  return size - used;
}

/* ---- the resize inode: a file of the blocks that are kept for descriptors ------------------ */

/* Each of those blocks lists its fellows, which are kept behind the superblock's copies. */
static void list_backups(struct growth *growth, uint64_t block)
{
  uint8_t *bytes = block_at(growth, block);
  if (bytes == NULL) return;
  uint32_t *list = (uint32_t *)bytes, count = backups(growth->old_count);
  for (uint32_t group = growth->old_count; group < growth->group_count; group++)
    if (group_has_super(group)) list[count++] = (uint32_t)(group_start(group) + block);
}

static void set_inode_checksum(const struct growth *growth, struct ext2_inode_large *inode)
{
  uint32_t words[2] = {EXT2_RESIZE_INO, inode->i_generation};
  inode->i_checksum_hi = inode->osd2.linux2.l_i_checksum_lo = 0;
  uint32_t sum = ext2fs_crc32c_le(growth->seed, (const uint8_t *)words, sizeof words);
  sum = ext2fs_crc32c_le(sum, (const uint8_t *)inode, INODE_SIZE);
  inode->osd2.linux2.l_i_checksum_lo = (uint16_t)sum;
  inode->i_checksum_hi = (uint16_t)(sum >> 16);
}

static uint32_t resize_sectors(uint32_t groups)
{
  uint32_t blocks = 1 + (DESCRIPTOR_BLOCKS - 1) * (1 + backups(groups));
  return blocks * (BLOCK_SIZE / 512);
}

static void change_resize_inode(struct growth *growth)
{
  uint64_t table = wide(growth->groups[0].bg_inode_table, growth->groups[0].bg_inode_table_hi);
  if (table >= growth->old_blocks) growth->failed = -ENOTSUP;
  uint8_t *inodes = block_at(growth, table);
  if (inodes == NULL) return;
  struct ext2_inode_large *inode = (struct ext2_inode_large *)(inodes + (EXT2_RESIZE_INO - 1) * INODE_SIZE);
  uint32_t place = inode->i_block[DOUBLE_INDIRECT];
  if (inode->i_blocks != resize_sectors(growth->old_count) || place >= growth->old_blocks) growth->failed = -ENOTSUP;
  for (uint32_t kept = 1; kept < DESCRIPTOR_BLOCKS; kept++) list_backups(growth, 1 + kept);
  inode->i_blocks = resize_sectors(growth->group_count);
  set_inode_checksum(growth, inode);
}

/* ---- the superblock and its copies --------------------------------------------------------- */

static void set_super(struct growth *growth, uint64_t more_blocks, uint32_t more_inodes)
{
  struct ext2_super_block *super = growth->super;
  uint64_t free_blocks = wide(super->s_free_blocks_count, super->s_free_blocks_hi) + more_blocks;
  super->s_blocks_count = (uint32_t)growth->blocks;
  super->s_blocks_count_hi = (uint32_t)(growth->blocks >> 32);
  super->s_free_blocks_count = (uint32_t)free_blocks;
  super->s_free_blocks_hi = (uint32_t)(free_blocks >> 32);
  super->s_inodes_count += more_inodes;
  super->s_free_inodes_count += more_inodes;
}

static void set_super_checksum(struct ext2_super_block *super)
{
  super->s_checksum = ext2fs_crc32c_le(~0u, (const uint8_t *)super, offsetof(struct ext2_super_block, s_checksum));
}

static void copy_super(struct growth *growth, uint32_t group)
{
  uint8_t *copy = block_at(growth, group_start(group));
  if (copy == NULL) return;
  struct ext2_super_block *super = (struct ext2_super_block *)copy;
  memcpy(super, growth->super, sizeof *super);
  super->s_block_group_nr = (uint16_t)group;
  set_super_checksum(super);
  memcpy(copy + BLOCK_SIZE, growth->groups, BLOCK_SIZE);
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void change(struct growth *growth)
{
  uint64_t blocks = lengthen(growth);
  for (uint32_t group = growth->old_count; group < growth->group_count; group++) blocks += add_group(growth, group);
  change_resize_inode(growth);
  set_super(growth, blocks, (growth->group_count - growth->old_count) * growth->per_group);
  set_super_checksum(growth->super);
  for (uint32_t group = 1; group < growth->group_count; group++)
    if (group_has_super(group)) copy_super(growth, group);
}

int hutch_ext4_grow(const char *path, uint64_t size, uint64_t *places, uint8_t *clusters)
{
  struct growth growth = {.places = places, .clusters = clusters};
  growth.file = open(path, O_RDONLY | O_CLOEXEC);
  if (growth.file < 0) return -errno;
  uint8_t *first = block_at(&growth, 0);
  bool larger = false;
  if (first != NULL) {
    growth.super = (struct ext2_super_block *)(first + SUPERBLOCK_OFFSET);
    growth.groups = (struct ext4_group_desc *)(first + BLOCK_SIZE);
    if (!is_known(growth.super) || !read_sizes(&growth)) growth.failed = -ENOTSUP;
    else larger = plan(&growth, size);
  }
  if (growth.failed == 0 && larger) change(&growth);
  close(growth.file);
  if (growth.failed == -ENOTSUP) return 0;
  if (growth.failed != 0) return growth.failed;
  return larger ? (int)growth.count : 0;
}
