/* What a box's disk has that its image's hasn't, as a layer of an image: the public part is what
 * ffi/symbols.ts has. Both disks are ext4, and looked upon as hostile (ext4_read.h). */
#ifndef HUTCH_DIFF_H
#define HUTCH_DIFF_H

#include "ext4_read.h"
#include "pack.h"

#pragma GCC visibility push(default)

typedef struct hutch_diff hutch_diff;

/* Compares the disk of `chain` with the lowest file of it alone, or with nothing (`whole` isn't 0), and
 * notes what is to be in the layer. Files that each start of a box writes are left out: /etc/hosts,
 * /etc/hostname, /etc/resolv.conf. `files` is as in hutch_chain_open; `max_entries` 0 is 5,000,000.
 * `cancelled` (NULL: nobody cancels) is looked at until hutch_diff_close has returned.
 * -ENOTSUP: it isn't ext4, or has features that are unknown; -EBADMSG: it is damaged; -EILSEQ: it holds
 * what a layer can't; -EFBIG: a limit; -ECANCELED. *out is set also then, for hutch_diff_error; NULL when
 * there is no memory. Meant to be called "nonblocking" from Deno. */
int hutch_diff_open(const char *files, size_t length, int whole, uint64_t max_entries,
                    const int32_t *cancelled, hutch_diff **out);
/* The next bytes of the tar; 0 at its end, or a negative errno, as above. Its files have no more bytes
 * than the disk has blocks for, nor has what is said of them, but for a few KiB each. Meant to be called "nonblocking". */
int64_t hutch_diff_read(hutch_diff *diff, uint8_t *buffer, size_t size);
/* How many entries the layer has (0), whiteouts among them (1), and sockets that were left out (2). */
uint64_t hutch_diff_count(const hutch_diff *diff, uint32_t what);
/* One line about the failure. */
const char *hutch_diff_error(const hutch_diff *diff);
void hutch_diff_close(hutch_diff *diff);

#pragma GCC visibility pop

/* ---- inside --------------------------------------------------------------------------------- */

#define DIFF_MAX_DEPTH 1024u
#define DIFF_MAX_ENTRIES 5000000u
/* What an entry's headers may have, on average, beside what could all be attributes on the disk. */
#define DIFF_HEADERS 4096u

enum diff_kind { DIFF_ENTRY, DIFF_LINK, DIFF_WHITEOUT, DIFF_OPAQUE };

/* What the layer gets, in its order. */
struct diff_item {
  char *path; /* without a slash before it; "" is the root */
  uint32_t inode;
  size_t first; /* of a further name: the number of the item with the file */
  enum diff_kind kind;
};

/* A file with several names. */
struct diff_file {
  uint32_t inode; /* 0: a free place */
  bool changed, taken;
  size_t item; /* with its first name, once that is taken */
};

/* A folder that is being compared. */
struct diff_folder {
  struct ext4_names names, base_names;
  size_t next, base_next;
  size_t path_length; /* of its path */
  uint32_t inode;
  bool in_base, taken;
};

struct hutch_diff {
  struct ext4_reader disk, base;
  bool has_base, taking; /* first what changed is looked for, then it is taken */
  uint64_t max_entries, seen;
  const int32_t *cancelled;
  struct diff_folder *stack;
  size_t depth;
  char path[PACK_MAX_PATH];
  size_t path_length;
  struct diff_file *files;
  size_t file_count, file_capacity;
  struct diff_item *items;
  size_t item_count, item_capacity;
  uint64_t whiteouts, sockets;

  /* while the tar is read */
  struct hutch_pack *pack; /* makes headers */
  size_t item;
  struct ext4_inode inode;
  struct ext4_extents extents;
  size_t extent;
  uint64_t extent_at; /* bytes of the present extent that are out */
  bool open, ended;
  uint64_t data, headers; /* bytes that were given: of files, and of what is before them */
  int failed;
  char error[768];
};

int diff_error(hutch_diff *diff, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same about the present path. */
int diff_path_error(hutch_diff *diff, int code, const char *problem);
/* 1 when an inode of the disk is what one of the base is, with all that it holds; 0 when it isn't. */
int diff_same(hutch_diff *diff, const struct ext4_inode *inode, const struct ext4_inode *base);
/* -ECANCELED once it was cancelled. */
int diff_go_on(hutch_diff *diff);
/* Finds the items. */
int diff_walk(hutch_diff *diff);

#endif
