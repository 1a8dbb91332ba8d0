/* Everything that is written once the content is known: what the files of finish share. */
#ifndef HUTCH_FINISH_H
#define HUTCH_FINISH_H

#include "image.h"

#include <ext2fs/ext2fs.h>

#define FIRST_INODE 11u
#define INODE_SIZE 256u
#define INODES_PER_BLOCK (BLOCK_SIZE / INODE_SIZE)
/* 16 MiB: what mke2fs takes for 1 GiB. A hole until the guest writes. */
#define JOURNAL_BLOCKS 4096u
/* The clock of everything that has no time of its own: not 0, which libext2fs takes for "now". */
#define FIXED_TIME 1

struct group {
  uint64_t block_bitmap, inode_bitmap, table;
};

struct build {
  struct hutch_ext4 *fs;
  uint32_t checksum_seed;
  uint32_t hash_seed[4];
  struct inode **inodes; /* [0] is number FIRST_INODE */
  uint32_t inode_count;
  uint32_t attribute_inodes; /* how many have extended attributes */
  struct inode journal;
  struct group *groups;
  uint32_t group_count, inodes_per_group;
  uint64_t block_count;
  ext2_filsys disk;
};

/* checksum.c */
uint32_t inode_checksum_seed(const struct build *build, uint32_t number);
void checksum_folder_block(uint32_t seed, uint8_t *block);
void checksum_index_block(uint32_t seed, uint8_t *block, size_t header);
void checksum_extent_block(uint32_t seed, uint8_t *block);

/* little-endian fields */
void put16(uint8_t *place, uint32_t value);
void put32(uint8_t *place, uint32_t value);

/* folder.c, index.c: writes a folder's blocks */
int folder_write(struct build *build, const struct node *folder);
/* One entry of a folder on its way into a block. */
struct item {
  uint32_t hash, minor, number, order;
  const char *name;
  uint8_t length, type;
};
size_t item_size(size_t name_length);
/* Puts items[0..count) into a block behind `at` bytes of others, whose last entry begins at `last`. */
void folder_block(uint8_t *block, size_t at, size_t last, const struct item *items, size_t count);
int index_build(struct build *build, const struct node *folder, struct item *items, size_t count,
                uint8_t **blocks, size_t *block_count);

/* extents.c: writes the blocks of an inode's tree of extents, if they need one */
int extents_write(struct build *build, struct inode *inode);
/* i_block, after that */
void extents_root(const struct inode *inode, uint8_t *place);

/* layout.c: places bitmaps, tables and journal, and sizes the file system */
int layout_plan(struct build *build);

/* inodes.c */
int inodes_write(struct build *build);
int attributes_write(struct build *build);

/* super.c */
int super_begin(struct build *build);
int super_journal(struct build *build);
int super_end(struct build *build);
int disk_error(struct build *build, errcode_t code, const char *doing);

#endif
