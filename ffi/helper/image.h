/* Inside of the ext4 writer: what its files share. See helper.h for what it does.
 *
 * File data goes to its final place as it comes (space.c, data.c). Names and inodes stay in memory
 * (tree.c) until finish.c knows how many there are and lays everything else out behind the data. */
#ifndef HUTCH_IMAGE_H
#define HUTCH_IMAGE_H

#include "copy/fields.h"
#include "helper.h"

#include <stdarg.h>
#include <stdbool.h>
#include <sys/stat.h>

#define BLOCK_SIZE 4096u
#define GROUP_BLOCKS 32768u
/* Blocks for group descriptors, used or reserved for growing, behind each superblock. Always this
 * many, so that data can be placed before the final size is known; one describes 8 GiB. Beyond what they
 * describe, a kernel that grows the file system puts descriptors elsewhere (meta_bg). With the superblock
 * they fill a cluster of 64 KiB, so that changing them needs no other one. */
#define DESCRIPTOR_BLOCKS 15u
#define GROUPS_PER_DESCRIPTOR 64u
#define MAX_BLOCKS ((uint64_t)DESCRIPTOR_BLOCKS * GROUPS_PER_DESCRIPTOR * GROUP_BLOCKS)
#define MAX_NAME 255u
#define MAX_PATH 4096u
#define MAX_DEPTH 2048u
#define MAX_LINKS 65000u
#define MAX_FILE_SIZE ((UINT64_C(1) << 44) - BLOCK_SIZE)

/* ---- space.c: which blocks are used ---- */

struct range {
  uint64_t start, count;
};

struct space {
  uint64_t cursor;      /* first block never given out */
  struct range *free;   /* blocks given back; [0, sorted) ascending and merged */
  size_t count, sorted, capacity;
  size_t next;          /* of the sorted ones, where space_take is */
};

bool group_has_super(uint64_t group);
void space_init(struct space *space);
void space_release(struct space *space);
/* Gives between 1 and `want` blocks in a row from *start, or 0 when the limit is reached. */
uint64_t space_take(struct space *space, uint64_t want, uint64_t *start);
/* Gives exactly `want` blocks in a row (at most 16,384), or 0. */
uint64_t space_take_run(struct space *space, uint64_t want, uint64_t *start);
int space_give(struct space *space, uint64_t start, uint64_t count);
/* Makes what was given back available again. */
void space_reuse(struct space *space);

/* ---- output.c: bytes to the file ---- */

struct output {
  int file;
  uint64_t position; /* of the buffer's first byte */
  size_t fill;
  uint8_t *buffer;
};

int output_init(struct output *output, int file);
void output_release(struct output *output);
int output_write(struct output *output, uint64_t position, const void *bytes, size_t length);
int output_zero(struct output *output, uint64_t position, uint64_t length);
int output_flush(struct output *output);
/* Makes a range of the file read as zeros without taking space, where the host can. */
int output_punch(struct output *output, uint64_t position, uint64_t length);

/* ---- tree.c: names and inodes ---- */

struct extent {
  uint32_t logical, count;
  uint64_t start;
};

struct attribute {
  struct attribute *next;
  size_t size;
  const uint8_t *value; /* in the same allocation, after the name */
  char name[];
};

/* There may be millions: what only one kind of file has shares its place. */
struct inode {
  uint32_t number; /* in the file system; 0 before finish */
  uint32_t links, uid, gid;
  uint16_t mode;
  bool has_root; /* its extents are in a tree of blocks, and only the root is here */
  uint32_t nanos;
  int64_t seconds;
  uint64_t size;
  struct attribute *attributes;
  uint32_t extent_count, blocks; /* its blocks, those of the tree included */
  union {
    struct extent only;     /* when there is just one */
    struct extent *extents; /* when there are more */
    uint8_t *root;          /* the 60 bytes of i_block */
  };
  union {
    struct { /* folder */
      struct node *first, *last;
      uint32_t folders; /* folders in it */
      uint32_t hidden;  /* the last layer that hid what lower ones left in it */
    };
    char *target; /* symlink */
    struct {      /* device */
      uint32_t major, minor;
    };
  };
};

struct node {
  struct node *parent, *previous, *next, *chain;
  struct inode *inode;
  uint32_t layer; /* that made it */
  uint16_t depth;
  uint8_t length;
  char name[];
};

struct tree {
  struct node *root;
  struct node **buckets;
  size_t bucket_count, node_count;
  uint64_t key[2]; /* hash key, so that nobody can make names collide; nothing depends on it */
};

/* Name of an entry: bytes without a terminator. */
struct hutch_ext4;

int tree_init(struct hutch_ext4 *fs);
void tree_release(struct hutch_ext4 *fs);
struct node *tree_find(const struct tree *tree, const struct node *parent, struct text name);
/* A node for a new inode (of one link), or for `inode` (one link more). NULL: the error is set. */
struct node *tree_add(struct hutch_ext4 *fs, struct node *parent, struct text name,
                      struct inode *inode, uint32_t mode);
/* Removes a node with everything below it. */
int tree_remove(struct hutch_ext4 *fs, struct node *node);
/* The next node in depth-first order below `top`, or NULL. */
struct node *tree_next(const struct node *top, const struct node *node);
/* Takes one link away; the last one frees the inode and its blocks. */
int inode_drop(struct hutch_ext4 *fs, struct inode *inode);
void inode_forget_attributes(struct hutch_ext4 *fs, struct inode *inode);
/* Valid until one is added, or the tree of them is written. */
const struct extent *inode_extents(const struct inode *inode);
void inode_forget_extents(struct hutch_ext4 *fs, struct inode *inode);
size_t attribute_memory(size_t name_length, size_t size);
bool is_folder(const struct node *node);
bool is_symlink(const struct node *node);

/* ---- path.c ---- */

/* Finds the folder that holds `path`'s last component, following symlinks within the image; makes
 * missing folders if `make`. Gives name.length 0 for the root itself. 0, -ENOENT without an error
 * set (only if not `make`), or an error. */
int path_parent(struct hutch_ext4 *fs, struct text path, bool make, struct node **parent,
                struct text *name);

/* ---- data.c: a file's content ---- */

struct writer {
  struct inode *inode;
  uint32_t index; /* of the current extent */
  uint64_t done;  /* offset up to which everything allocated is written */
};

/* Allocates blocks for what `map` covers: ranges of bytes, ascending. */
int data_allocate(struct hutch_ext4 *fs, struct inode *inode, const struct range *map,
                  size_t count);
/* The same for whole blocks, without counting them as the image's bytes. */
int data_blocks(struct hutch_ext4 *fs, struct inode *inode, uint64_t first, uint64_t count);
void data_begin(struct writer *writer, struct inode *inode);
int data_write(struct hutch_ext4 *fs, struct writer *writer, uint64_t offset, const uint8_t *bytes,
               size_t length);
int data_end(struct hutch_ext4 *fs, struct writer *writer);

/* ---- the image ---- */

struct tar;

struct hutch_ext4 {
  struct hutch_ext4_options options;
  char *path;
  struct output output;
  struct space space;
  struct tree tree;
  struct tar *tar;  /* while a layer is open */
  uint32_t layer;   /* number of the current layer, from 1; 0: none yet */
  uint64_t bytes;   /* of the blocks that files were given */
  uint64_t pushed;  /* bytes of layers */
  uint64_t entries, memory;
  bool finished;
  int failed;       /* negative errno once it is beyond use */
  int code;         /* of the last error */
  char error[1024];
};

/* Sets the error line; returns `code`. */
int image_error(struct hutch_ext4 *fs, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Zeroed memory within the limit, or NULL with the error set (and in fs->code). */
void *image_take(struct hutch_ext4 *fs, size_t size);
void image_give(struct hutch_ext4 *fs, void *memory, size_t size);
/* A printable form of a name for messages; at most 200 bytes of it. */
struct quoted {
  char text[512];
};
struct quoted quote(struct text name);

#endif
