/* Reading ext4 out of a chain of disk files (chain.h), without a kernel and without writing: a box's
 * disk may have been written by whoever has broken into its kernel. Sizes, places and counts are checked
 * before they are used; what the journal hasn't brought home yet is read from the journal. */
#ifndef HUTCH_EXT4_READ_H
#define HUTCH_EXT4_READ_H

#include "chain.h"

#define EXT4_ROOT 2u
#define EXT4_MAX_DEPTH 5u /* of a tree of extents */
#define EXT4_CACHE 64u
#define EXT4_NAME 255u

/* Where the journal has a block that isn't at its place yet. */
struct journal_block {
  uint64_t block; /* plus one; 0: a free place of the table */
  uint64_t at;    /* in the file system */
  uint32_t sequence;
  bool escaped;
};

struct journal {
  uint64_t key; /* of its tables: by chance, or a disk could have all blocks at one place */
  struct journal_block *blocks, *revoked;
  size_t block_count, block_capacity, revoked_count, revoked_capacity;
};

struct ext4_reader {
  hutch_chain *chain;
  const int32_t *cancelled; /* may be NULL; not 0: no further block is read */
  uint32_t block_size, inode_size, descriptor_size;
  uint64_t block_count;
  uint32_t inode_count, inodes_per_group, blocks_per_group, first_block, first_meta_group;
  bool meta_groups, sparse_super, needs_journal;
  uint32_t journal_inode;
  struct journal journal;
  struct {
    uint64_t block; /* plus one */
    uint8_t *bytes;
  } cache[EXT4_CACHE];
  char error[512];
};

struct ext4_inode {
  uint32_t number, generation, mode, uid, gid, links, flags;
  uint64_t size;
  int64_t seconds;
  uint32_t nanos;
  uint64_t attribute_block;
  uint8_t root[60];       /* extents, a link's target, or a device's number */
  uint8_t body[4096];     /* what follows the inode's fields: attributes */
  size_t body_size;
};

/* Blocks of a file that follow each other on the disk. */
struct ext4_extent {
  uint64_t logical, count, start;
};

struct ext4_extents {
  struct ext4_extent *list;
  size_t count, capacity;
  uint64_t *tables; /* blocks of the tree itself */
  size_t table_count, table_capacity;
};

struct ext4_name {
  char *name;
  uint32_t inode;
};

struct ext4_names {
  struct ext4_name *list;
  size_t count, capacity;
};

int ext4_error(struct ext4_reader *fs, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Takes the chain, also when it fails. -ENOTSUP: a feature is unknown; -EBADMSG: something is wrong;
 * -ECANCELED, as all that read. `cancelled` may be set before. */
int ext4_open(struct ext4_reader *fs, hutch_chain *chain);
void ext4_close(struct ext4_reader *fs);
/* Reads a block as it is, or will be when the journal was played. */
int ext4_block(struct ext4_reader *fs, uint64_t block, uint8_t *bytes);
/* The same, kept: valid until the next call. */
int ext4_kept_block(struct ext4_reader *fs, uint64_t block, const uint8_t **bytes);
int ext4_inode(struct ext4_reader *fs, uint32_t number, struct ext4_inode *inode);
/* A file's blocks that were written, in order, none of them twice; `extents` must be zero. */
int ext4_map(struct ext4_reader *fs, const struct ext4_inode *inode, struct ext4_extents *extents);
/* The one with a block of the file; NULL when none has it. */
const struct ext4_extent *ext4_extent_of(const struct ext4_extents *extents, uint64_t logical);
void ext4_extents_release(struct ext4_extents *extents);
/* A folder's names, sorted, without . and ..; at most `most`. `names` must be zero. */
int ext4_list(struct ext4_reader *fs, const struct ext4_inode *inode, size_t most,
              struct ext4_names *names);
void ext4_names_release(struct ext4_names *names);
/* A link's target, ended by a NUL. */
int ext4_target(struct ext4_reader *fs, const struct ext4_inode *inode, char *target, size_t size);
/* Calls for each extended attribute, with its whole name, by name's order on the disk. */
int ext4_attributes(struct ext4_reader *fs, const struct ext4_inode *inode,
                    int (*each)(void *context, const char *name, const uint8_t *value,
                                size_t length),
                    void *context);
uint32_t ext4_device(const struct ext4_inode *inode, uint32_t *minor);

/* journal.c: reads which blocks the journal has that aren't at their places. */
int journal_read(struct ext4_reader *fs);
const struct journal_block *journal_find(const struct journal *journal, uint64_t block);
void journal_release(struct journal *journal);

static inline uint32_t le16_at(const uint8_t *bytes) { return bytes[0] | (uint32_t)bytes[1] << 8; }
static inline uint32_t le32_at(const uint8_t *bytes)
{
  return le16_at(bytes) | le16_at(bytes + 2) << 16;
}

#endif
