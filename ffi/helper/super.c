/* Superblock, group descriptors, bitmaps, journal and resize inode: by libext2fs. */
#include "finish.h"

#include <errno.h>
#include <et/com_err.h>
#include <string.h>

#define GROUPS_PER_FLEX_LOG 4

int disk_error(struct build *build, errcode_t code, const char *doing)
{
  int result = code > 0 && code < 256 ? -(int)code : -EIO;
  return image_error(build->fs, result, "%s: %s", doing, error_message(code));
}

static void set_features(struct ext2_super_block *super)
{
  ext2fs_set_feature_resize_inode(super);
  ext2fs_set_feature_dir_index(super);
  ext2fs_set_feature_xattr(super);
  ext2fs_set_feature_filetype(super);
  ext2fs_set_feature_extents(super);
  ext2fs_set_feature_flex_bg(super);
  ext2fs_set_feature_64bit(super);
  ext2fs_set_feature_sparse_super(super);
  ext2fs_set_feature_large_file(super);
  ext2fs_set_feature_huge_file(super);
  ext2fs_set_feature_dir_nlink(super);
  ext2fs_set_feature_extra_isize(super);
  ext2fs_set_feature_metadata_csum(super);
}

/* The size is of blocks and groups as planned; libext2fs must have understood it the same way. */
static int make_disk(struct build *build)
{
  struct ext2_super_block wanted = {0};
  uint32_t descriptors = (build->group_count + GROUPS_PER_DESCRIPTOR - 1) / GROUPS_PER_DESCRIPTOR;
  wanted.s_rev_level = EXT2_DYNAMIC_REV;
  wanted.s_log_block_size = wanted.s_log_cluster_size = 2;
  wanted.s_inode_size = INODE_SIZE;
  wanted.s_desc_size = EXT2_MIN_DESC_SIZE_64BIT;
  wanted.s_log_groups_per_flex = GROUPS_PER_FLEX_LOG;
  wanted.s_reserved_gdt_blocks = (uint16_t)(DESCRIPTOR_BLOCKS - descriptors);
  wanted.s_inodes_count = build->group_count * build->inodes_per_group;
  set_features(&wanted);
  ext2fs_blocks_count_set(&wanted, build->block_count);
  errcode_t code = ext2fs_initialize(build->fs->path, EXT2_FLAG_64BITS, &wanted, unix_io_manager,
                                     &build->disk);
  if (code != 0) return disk_error(build, code, "the file system");
  struct ext2_super_block *super = build->disk->super;
  if (ext2fs_blocks_count(super) != build->block_count ||
      super->s_inodes_per_group != build->inodes_per_group ||
      build->disk->group_desc_count != build->group_count ||
      build->disk->desc_blocks + super->s_reserved_gdt_blocks != DESCRIPTOR_BLOCKS)
    return image_error(build->fs, -EIO, "libext2fs made another file system than planned");
  return 0;
}

static void set_super(struct build *build)
{
  struct ext2_super_block *super = build->disk->super;
  build->disk->now = FIXED_TIME;
  super->s_mkfs_time = super->s_lastcheck = super->s_wtime = FIXED_TIME;
  super->s_max_mnt_count = -1;
  super->s_checkinterval = 0;
  super->s_creator_os = EXT2_OS_LINUX;
  super->s_errors = EXT2_ERRORS_DEFAULT;
  super->s_min_extra_isize = super->s_want_extra_isize = 32;
  super->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
  super->s_def_hash_version = EXT2_HASH_HALF_MD4;
  super->s_flags |= EXT2_FLAGS_SIGNED_HASH;
  super->s_checksum_type = EXT2_CRC32C_CHKSUM;
  ext2fs_r_blocks_count_set(super, 0);
  memcpy(super->s_uuid, build->fs->options.uuid, sizeof super->s_uuid);
  memcpy(super->s_hash_seed, build->hash_seed, sizeof super->s_hash_seed);
  ext2fs_init_csum_seed(build->disk);
}

/* Tables read as zeros where nothing was written: the file is a hole there. */
static void set_groups(struct build *build)
{
  ext2_filsys disk = build->disk;
  for (uint32_t i = 0; i < build->group_count; i++) {
    ext2fs_block_bitmap_loc_set(disk, i, build->groups[i].block_bitmap);
    ext2fs_inode_bitmap_loc_set(disk, i, build->groups[i].inode_bitmap);
    ext2fs_inode_table_loc_set(disk, i, build->groups[i].table);
    ext2fs_bg_flags_clear(disk, i, EXT2_BG_BLOCK_UNINIT);
    ext2fs_bg_flags_set(disk, i, EXT2_BG_INODE_ZEROED);
  }
}

static void mark(struct build *build, uint64_t start, uint64_t end)
{
  if (start < end) ext2fs_block_alloc_stats_range(build->disk, start, end - start, 1);
}

/* Marks what was given out: everything up to the cursor but holes and the superblocks' places,
 * which libext2fs marked itself. */
static void mark_used(struct build *build)
{
  const struct space *space = &build->fs->space;
  size_t hole = 0;
  for (uint64_t group = 0; group * GROUP_BLOCKS < space->cursor; group++) {
    uint64_t at = group * GROUP_BLOCKS, end = at + GROUP_BLOCKS;
    if (group_has_super(group)) at += 1 + DESCRIPTOR_BLOCKS;
    if (end > space->cursor) end = space->cursor;
    while (at < end) {
      while (hole < space->count && space->free[hole].start + space->free[hole].count <= at) hole++;
      if (hole == space->count || space->free[hole].start >= end) {
        mark(build, at, end);
        break;
      }
      mark(build, at, space->free[hole].start);
      at = space->free[hole].start + space->free[hole].count;
    }
  }
}

int super_begin(struct build *build)
{
  int result = make_disk(build);
  if (result < 0) return result;
  set_super(build);
  set_groups(build);
  mark_used(build);
  return 0;
}

int super_journal(struct build *build)
{
  struct ext2fs_journal_params params = {.num_journal_blocks = JOURNAL_BLOCKS};
  char *block;
  errcode_t code = ext2fs_create_journal_superblock2(build->disk, &params, 0, &block);
  if (code != 0) return disk_error(build, code, "the journal");
  int result = output_write(&build->fs->output, build->journal.only.start * BLOCK_SIZE,
                            block, BLOCK_SIZE);
  ext2fs_free_mem(&block);
  if (result < 0) return image_error(build->fs, result, "%s", strerror(-result));
  struct ext2_super_block *super = build->disk->super;
  ext2fs_set_feature_journal(super);
  super->s_journal_inum = EXT2_JOURNAL_INO;
  super->s_jnl_backup_type = EXT3_JNL_BACKUP_BLOCKS;
  extents_root(&build->journal, (uint8_t *)super->s_jnl_blocks);
  super->s_jnl_blocks[15] = (uint32_t)(build->journal.size >> 32);
  super->s_jnl_blocks[16] = (uint32_t)build->journal.size;
  return 0;
}

int super_end(struct build *build)
{
  errcode_t code = ext2fs_create_resize_inode(build->disk);
  if (code != 0) return disk_error(build, code, "the resize inode");
  code = ext2fs_set_gdt_csum(build->disk);
  if (code != 0) return disk_error(build, code, "the group descriptors");
  ext2fs_mark_super_dirty(build->disk);
  code = ext2fs_close2(build->disk, EXT2_FLAG_FLUSH_NO_SYNC);
  if (code != 0) return disk_error(build, code, "the superblock"); /* which closed nothing */
  build->disk = NULL;
  return 0;
}
