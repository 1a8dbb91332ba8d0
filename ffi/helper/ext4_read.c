/* Superblock, blocks and inodes. See ext4_read.h. */
#define _GNU_SOURCE 1
#include "ext4_read.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  FILETYPE = 0x2, RECOVER = 0x4, META_BG = 0x10, EXTENTS = 0x40, WIDE = 0x80, MMP = 0x100,
  FLEX_BG = 0x200, CSUM_SEED = 0x2000, LARGEDIR = 0x4000
};
#define KNOWN (FILETYPE | RECOVER | META_BG | EXTENTS | WIDE | MMP | FLEX_BG | CSUM_SEED | LARGEDIR)
#define HAS_JOURNAL 0x4u
#define SPARSE_SUPER 0x1u
#define OLD_INODE 128u

int ext4_error(struct ext4_reader *fs, int code, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fs->error, sizeof fs->error, format, arguments);
  va_end(arguments);
  return code;
}

static int read_chain(struct ext4_reader *fs, uint64_t at, uint8_t *bytes, size_t length)
{
  if (fs->cancelled != NULL && *(volatile const int32_t *)fs->cancelled != 0)
    return ext4_error(fs, -ECANCELED, "it was cancelled");
  int64_t result = hutch_chain_read(fs->chain, at, bytes, length);
  if (result >= 0) return 0;
  return ext4_error(fs, (int)result, "%s", hutch_chain_error(fs->chain));
}

static int read_sizes(struct ext4_reader *fs, const uint8_t *super)
{
  uint32_t incompatible = le32_at(super + 0x60), log = le32_at(super + 0x18);
  if (le16_at(super + 0x38) != 0xef53) return ext4_error(fs, -ENOTSUP, "it isn't ext4");
  if ((incompatible & ~(uint32_t)KNOWN) != 0 || (incompatible & EXTENTS) == 0)
    return ext4_error(fs, -ENOTSUP, "its ext4 has features that hutch doesn't read (%#x)",
                      incompatible & ~(uint32_t)KNOWN);
  if (log > 5) return ext4_error(fs, -EBADMSG, "its blocks have no possible size");
  fs->block_size = 1024u << log;
  fs->block_count = le32_at(super + 4);
  if (incompatible & WIDE) fs->block_count |= (uint64_t)le32_at(super + 0x150) << 32;
  fs->inode_count = le32_at(super);
  fs->first_block = le32_at(super + 0x14);
  fs->blocks_per_group = le32_at(super + 0x20);
  fs->inodes_per_group = le32_at(super + 0x28);
  fs->inode_size = le32_at(super + 0x4c) == 0 ? OLD_INODE : le16_at(super + 0x58);
  fs->descriptor_size = incompatible & WIDE ? le16_at(super + 0xfe) : 32;
  fs->meta_groups = incompatible & META_BG;
  fs->first_meta_group = le32_at(super + 0x104);
  fs->sparse_super = le32_at(super + 0x64) & SPARSE_SUPER;
  fs->needs_journal = incompatible & RECOVER;
  fs->journal_inode = le32_at(super + 0x5c) & HAS_JOURNAL ? le32_at(super + 0xe0) : 0;
  return 0;
}

static int check_sizes(struct ext4_reader *fs)
{
  bool good = fs->inode_size >= OLD_INODE && fs->inode_size <= fs->block_size &&
              (fs->inode_size & (fs->inode_size - 1)) == 0 &&
              (fs->descriptor_size == 32 || fs->descriptor_size == 64) &&
              fs->blocks_per_group >= 8 && fs->blocks_per_group <= 8 * fs->block_size &&
              fs->inodes_per_group >= 1 && fs->inodes_per_group <= 8 * fs->block_size &&
              fs->first_block == (fs->block_size == 1024) &&
              fs->block_count > fs->first_block &&
              fs->block_count <= hutch_chain_size(fs->chain) / fs->block_size;
  return good ? 0 : ext4_error(fs, -EBADMSG, "its ext4's sizes can't be right");
}

/* The superblock itself may be newer in the journal: a disk that grows has its size there first. */
static int play_journal(struct ext4_reader *fs)
{
  fs->block_count = hutch_chain_size(fs->chain) / fs->block_size;
  uint8_t *block = malloc(fs->block_size);
  if (block == NULL) return ext4_error(fs, -ENOMEM, "out of memory");
  uint32_t size = fs->block_size;
  int result = journal_read(fs);
  if (result == 0) result = ext4_block(fs, 1024 / size, block);
  if (result == 0) result = read_sizes(fs, block + 1024 % size);
  if (result == 0 && fs->block_size != size)
    result = ext4_error(fs, -EBADMSG, "its blocks' size changes");
  free(block);
  return result < 0 ? result : check_sizes(fs);
}

int ext4_open(struct ext4_reader *fs, hutch_chain *chain)
{
  uint8_t super[1024];
  fs->chain = chain;
  if (hutch_chain_size(chain) < 2 * sizeof super) return ext4_error(fs, -ENOTSUP, "it isn't ext4");
  int result = read_chain(fs, 1024, super, sizeof super);
  if (result == 0) result = read_sizes(fs, super);
  if (result == 0) result = check_sizes(fs);
  if (result == 0 && fs->needs_journal) result = play_journal(fs);
  return result;
}

void ext4_close(struct ext4_reader *fs)
{
  journal_release(&fs->journal);
  for (size_t i = 0; i < EXT4_CACHE; i++) free(fs->cache[i].bytes);
  hutch_chain_close(fs->chain);
  *fs = (struct ext4_reader){0};
}

int ext4_block(struct ext4_reader *fs, uint64_t block, uint8_t *bytes)
{
  if (block >= fs->block_count) return ext4_error(fs, -EBADMSG, "a block is behind its end");
  const struct journal_block *newer = journal_find(&fs->journal, block);
  uint64_t at = (newer == NULL ? block : newer->at) * fs->block_size;
  int result = read_chain(fs, at, bytes, fs->block_size);
  /* The journal's own mark was taken out of data that happened to begin with it. */
  if (result == 0 && newer != NULL && newer->escaped) memcpy(bytes, "\xc0\x3b\x39\x98", 4);
  return result;
}

int ext4_kept_block(struct ext4_reader *fs, uint64_t block, const uint8_t **bytes)
{
  size_t place = block % EXT4_CACHE;
  *bytes = fs->cache[place].bytes;
  if (fs->cache[place].block == block + 1) return 0;
  fs->cache[place].block = 0;
  if (fs->cache[place].bytes == NULL) fs->cache[place].bytes = malloc(fs->block_size);
  *bytes = fs->cache[place].bytes;
  if (*bytes == NULL) return ext4_error(fs, -ENOMEM, "out of memory");
  int result = ext4_block(fs, block, fs->cache[place].bytes);
  if (result == 0) fs->cache[place].block = block + 1;
  return result;
}

static bool is_power(uint64_t number, uint64_t base)
{
  while (number % base == 0) number /= base;
  return number == 1;
}

static bool has_super(const struct ext4_reader *fs, uint64_t group)
{
  if (!fs->sparse_super || group <= 1) return true;
  return is_power(group, 3) || is_power(group, 5) || is_power(group, 7);
}

/* The block that a group's descriptor is in. */
static uint64_t descriptor_block(const struct ext4_reader *fs, uint64_t group)
{
  uint64_t per_block = fs->block_size / fs->descriptor_size, number = group / per_block;
  if (!fs->meta_groups || number < fs->first_meta_group) return fs->first_block + 1 + number;
  uint64_t first = number * per_block;
  return fs->first_block + first * fs->blocks_per_group + has_super(fs, first);
}

static int table_of(struct ext4_reader *fs, uint64_t group, uint64_t *table)
{
  const uint8_t *block;
  int result = ext4_kept_block(fs, descriptor_block(fs, group), &block);
  if (result < 0) return result;
  const uint8_t *at = block + group % (fs->block_size / fs->descriptor_size) * fs->descriptor_size;
  *table = le32_at(at + 8);
  if (fs->descriptor_size >= 64) *table |= (uint64_t)le32_at(at + 0x28) << 32;
  return 0;
}

static void parse_inode(const uint8_t *raw, uint32_t size, struct ext4_inode *inode)
{
  uint32_t extra = size > OLD_INODE ? le16_at(raw + 0x80) : 0;
  inode->mode = le16_at(raw);
  inode->uid = le16_at(raw + 2) | le16_at(raw + 0x78) << 16;
  inode->gid = le16_at(raw + 0x18) | le16_at(raw + 0x7a) << 16;
  inode->links = le16_at(raw + 0x1a);
  inode->flags = le32_at(raw + 0x20);
  inode->size = le32_at(raw + 4) | (uint64_t)le32_at(raw + 0x6c) << 32;
  inode->generation = le32_at(raw + 0x64);
  inode->attribute_block = le32_at(raw + 0x68) | (uint64_t)le16_at(raw + 0x76) << 32;
  inode->seconds = (int32_t)le32_at(raw + 0x10);
  inode->nanos = 0;
  memcpy(inode->root, raw + 0x28, sizeof inode->root);
  if (extra >= 12) { /* up to the modification time's further bits */
    uint32_t more = le32_at(raw + 0x88);
    inode->seconds += (int64_t)(more & 3) << 32;
    inode->nanos = more >> 2 < 1000000000 ? more >> 2 : 0;
  }
  inode->body_size = 0;
  if (size <= OLD_INODE || extra > size - OLD_INODE) return;
  inode->body_size = size - OLD_INODE - extra;
  if (inode->body_size > sizeof inode->body) inode->body_size = sizeof inode->body;
  memcpy(inode->body, raw + OLD_INODE + extra, inode->body_size);
}

int ext4_inode(struct ext4_reader *fs, uint32_t number, struct ext4_inode *inode)
{
  if (number == 0 || number > fs->inode_count)
    return ext4_error(fs, -EBADMSG, "an inode's number can't be right");
  uint32_t group = (number - 1) / fs->inodes_per_group, index = (number - 1) % fs->inodes_per_group;
  uint32_t per_block = fs->block_size / fs->inode_size;
  uint64_t table;
  const uint8_t *block;
  int result = table_of(fs, group, &table);
  if (result == 0) result = ext4_kept_block(fs, table + index / per_block, &block);
  if (result < 0) return result;
  inode->number = number;
  parse_inode(block + index % per_block * fs->inode_size, fs->inode_size, inode);
  return 0;
}

uint32_t ext4_device(const struct ext4_inode *inode, uint32_t *minor)
{
  uint32_t old = le32_at(inode->root), new = le32_at(inode->root + 4);
  if (old != 0) {
    *minor = old & 0xff;
    return old >> 8 & 0xff;
  }
  *minor = (new & 0xff) | (new >> 12 & 0xfff00);
  return new >> 8 & 0xfff;
}
