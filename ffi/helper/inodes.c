/* The inode tables, and extended attributes. */
#include "finish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EXTRA_SIZE 32u
/* What 34 bits of seconds can say, counted from 1901. */
#define EARLIEST (-(INT64_C(1) << 31))
#define LATEST ((INT64_C(1) << 34) + EARLIEST - 1)

static void put_times(struct ext2_inode_large *raw, const struct inode *inode)
{
  int64_t seconds = inode->seconds;
  uint32_t nanos = inode->nanos;
  if (seconds < EARLIEST || seconds > LATEST) {
    seconds = seconds < EARLIEST ? EARLIEST : LATEST;
    nanos = 0;
  }
  uint32_t low = (uint32_t)seconds;
  /* The low part is signed: what is missing from it counts epochs of 2^32 seconds. */
  uint32_t epoch = (uint32_t)((uint64_t)(seconds - (int32_t)low) >> 32) & 3;
  raw->i_atime = raw->i_ctime = raw->i_mtime = raw->i_crtime = low;
  raw->i_atime_extra = raw->i_ctime_extra = raw->i_mtime_extra = raw->i_crtime_extra =
      nanos << 2 | epoch;
}

static void put_device(struct ext2_inode_large *raw, uint32_t major, uint32_t minor)
{
  if (major < 256 && minor < 256) raw->i_block[0] = major << 8 | minor;
  else raw->i_block[1] = (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

static void put_content(struct ext2_inode_large *raw, const struct inode *inode)
{
  if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode)) {
    put_device(raw, inode->major, inode->minor);
  } else if (S_ISREG(inode->mode) || S_ISDIR(inode->mode) || inode->blocks > 0) {
    raw->i_flags |= EXT4_EXTENTS_FL;
    extents_root(inode, (uint8_t *)raw->i_block);
  } else if (S_ISLNK(inode->mode)) {
    memcpy(raw->i_block, inode->target, (size_t)inode->size);
  }
}

static uint32_t links_of(const struct inode *inode)
{
  if (!S_ISDIR(inode->mode)) return inode->links;
  return inode->folders + 2 > MAX_LINKS ? 1 : inode->folders + 2;
}

static void put_inode(struct ext2_inode_large *raw, const struct inode *inode)
{
  uint64_t blocks = (uint64_t)inode->blocks * (BLOCK_SIZE / 512);
  raw->i_mode = (uint16_t)inode->mode;
  raw->i_uid = (uint16_t)inode->uid;
  raw->osd2.linux2.l_i_uid_high = (uint16_t)(inode->uid >> 16);
  raw->i_gid = (uint16_t)inode->gid;
  raw->osd2.linux2.l_i_gid_high = (uint16_t)(inode->gid >> 16);
  raw->i_size = (uint32_t)inode->size;
  raw->i_size_high = (uint32_t)(inode->size >> 32);
  raw->i_links_count = (uint16_t)links_of(inode);
  raw->i_blocks = (uint32_t)blocks;
  raw->osd2.linux2.l_i_blocks_hi = (uint16_t)(blocks >> 32);
  raw->i_extra_isize = EXTRA_SIZE;
  put_times(raw, inode);
  if (S_ISDIR(inode->mode) && inode->size > BLOCK_SIZE) raw->i_flags |= EXT2_INDEX_FL;
  put_content(raw, inode);
}

static int write_inode(struct build *build, const struct inode *inode)
{
  union {
    struct ext2_inode_large inode;
    uint8_t bytes[INODE_SIZE];
  } raw;
  memset(&raw, 0, sizeof raw);
  put_inode(&raw.inode, inode);
  errcode_t code = ext2fs_inode_csum_set(build->disk, inode->number, &raw.inode);
  if (code != 0) return disk_error(build, code, "an inode's checksum");
  uint32_t index = inode->number - 1;
  uint64_t position = build->groups[index / build->inodes_per_group].table * BLOCK_SIZE +
                      (uint64_t)(index % build->inodes_per_group) * INODE_SIZE;
  int result = output_write(&build->fs->output, position, raw.bytes, sizeof raw.bytes);
  if (result < 0) return image_error(build->fs, result, "%s", strerror(-result));
  ext2fs_inode_alloc_stats2(build->disk, inode->number, 1, S_ISDIR(inode->mode));
  return 0;
}

int inodes_write(struct build *build)
{
  for (uint32_t number = 1; number < FIRST_INODE; number++)
    if (number != EXT2_ROOT_INO && number != EXT2_JOURNAL_INO)
      ext2fs_inode_alloc_stats2(build->disk, number, 1, 0);
  int result = write_inode(build, build->fs->tree.root->inode);
  if (result == 0) result = write_inode(build, &build->journal);
  for (uint32_t i = 0; i < build->inode_count && result == 0; i++)
    result = write_inode(build, build->inodes[i]);
  return result;
}

static int write_attributes(struct build *build, const struct inode *inode)
{
  struct ext2_xattr_handle *handle;
  errcode_t code = ext2fs_xattrs_open(build->disk, inode->number, &handle);
  if (code != 0) return disk_error(build, code, "extended attributes");
  code = ext2fs_xattrs_read(handle);
  for (const struct attribute *attribute = inode->attributes; attribute != NULL && code == 0;
       attribute = attribute->next)
    code = ext2fs_xattr_set(handle, attribute->name, attribute->value, attribute->size);
  errcode_t closed = ext2fs_xattrs_close(&handle);
  if (code == 0) code = closed;
  return code == 0 ? 0 : disk_error(build, code, "extended attributes");
}

int attributes_write(struct build *build)
{
  int result = 0;
  if (build->fs->tree.root->inode->attributes != NULL)
    result = write_attributes(build, build->fs->tree.root->inode);
  for (uint32_t i = 0; i < build->inode_count && result == 0; i++)
    if (build->inodes[i]->attributes != NULL) result = write_attributes(build, build->inodes[i]);
  return result;
}
