/* Reading a box's disk: qcow2 overlays over a raw or qcow2 disk. The public part is what ffi/symbols.ts
 * has.
 *
 * Which files make the chain, and their formats, is what the caller says: what an overlay says of the
 * disk below it is not looked at. Nothing in a file is believed: it may have been written by whoever
 * has broken out of a machine. */
#ifndef HUTCH_CHAIN_H
#define HUTCH_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)

typedef struct hutch_chain hutch_chain;

enum { HUTCH_CHAIN_NOTHING, HUTCH_CHAIN_DATA, HUTCH_CHAIN_ZEROS };

/* Opens a chain for reading. `files` has the uppermost first, each as 'q' (qcow2) or 'r' (raw) and a
 * path that ends with a NUL; `length` counts it all. -EBADMSG: a file isn't what it should be;
 * -ENOTSUP: it has a feature that boxes' disks don't have; what open(2) says. *out is set also then, for
 * hutch_chain_error; NULL when there is no memory. */
int hutch_chain_open(const char *files, size_t length, hutch_chain **out);
/* Size of the disk in bytes. */
uint64_t hutch_chain_size(const hutch_chain *chain);
/* The first run from `offset` on of which one of the `depth` uppermost files says what it holds: its
 * start, its length, and what: DATA, ZEROS, or NOTHING when there is none. */
int hutch_chain_next(hutch_chain *chain, uint32_t depth, uint64_t offset, uint64_t run[3]);
/* Bytes of the disk; all of them, or a negative errno. Meant to be called "nonblocking" from Deno. */
int64_t hutch_chain_read(hutch_chain *chain, uint64_t offset, uint8_t *buffer, size_t length);
/* One line about the last failure. */
const char *hutch_chain_error(const hutch_chain *chain);
void hutch_chain_close(hutch_chain *chain);

#pragma GCC visibility pop

/* ---- inside --------------------------------------------------------------------------------- */

#include <stdbool.h>

/* More than any number of snapshots, and few enough to look through for each cluster. */
#define CHAIN_MAX_FILES 256u
/* Second-level tables that are kept of each file. */
#define CHAIN_TABLES 16u

struct chain_table {
  uint64_t number;    /* of the table, plus one; 0: a free place */
  uint64_t *entries;  /* NULL: none of them says anything */
};

struct chain_file {
  int fd;
  bool qcow2;
  uint32_t cluster_bits;
  uint64_t size;        /* of the disk in it */
  uint64_t length;      /* of the file */
  uint64_t *first;      /* the first-level table */
  uint64_t first_count;
  struct chain_table tables[CHAIN_TABLES];
};

/* What a file says of a piece of the disk. */
struct chain_piece {
  int kind;
  uint64_t at; /* in the file, of data */
  uint64_t length;
};

struct hutch_chain {
  struct chain_file *files;
  uint32_t count;
  char error[512];
};

int chain_error(hutch_chain *chain, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Reads exactly `length` bytes; what is behind the file's end reads as zeros. 0 or a negative errno. */
int chain_pread(int fd, void *buffer, size_t length, uint64_t offset);
/* qcow2.c: reads the header and the first-level table of an open file. */
int qcow2_open(hutch_chain *chain, struct chain_file *file);
/* What the file says from `offset` (below its size) on, for `want` bytes at most; `piece` is never
 * empty. */
int qcow2_find(hutch_chain *chain, struct chain_file *file, uint64_t offset, uint64_t want,
               struct chain_piece *piece);
void qcow2_release(struct chain_file *file);
/* The number of the uppermost file that holds the disk's byte at `offset`, and the piece there; the
 * chain's count when none does, or zeros. */
int chain_find(hutch_chain *chain, uint64_t offset, uint64_t want, uint32_t *number,
               struct chain_piece *piece);

#endif
