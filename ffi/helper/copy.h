/* Copies of trees on the host, for ffi/copy.ts. See copy/copy.h for what they are; here is how Deno
 * calls them. Calls that move bytes are meant to be "nonblocking", one at a time for a handle. */
#ifndef HUTCH_HELPER_COPY_H
#define HUTCH_HELPER_COPY_H

#include "copy/copy.h"

#pragma GCC visibility push(default)

/* `count` of struct copy_range follow. */
struct hutch_copy_options {
  uint32_t flags, owners, uid, gid;
  uint64_t max_bytes, max_entries;
  uint32_t count, padding;
};

typedef struct hutch_copy hutch_copy;

/* `packs` is 1 or 0; `path` is the source or the destination. */
int hutch_copy_open(int packs, const char *path, const char *name, const struct hutch_copy_options *options,
                    hutch_copy **out);
/* Packing: gives the count of bytes that came, 0 at the end or when it asks. */
int64_t hutch_copy_read(hutch_copy *copy, uint8_t *buffer, size_t size);
/* Unpacking: gives the count of bytes that were taken: all, unless it asks. */
int64_t hutch_copy_push(hutch_copy *copy, const uint8_t *bytes, size_t length);
int hutch_copy_finish(hutch_copy *copy);
/* Writes the path of the entry that it asks about, and its size to *size; gives its type (as in a
 * tar's header), or 0 when it doesn't ask. */
uint32_t hutch_copy_asks(const hutch_copy *copy, uint8_t path[COPY_MAX_PATH], uint64_t *size);
void hutch_copy_answer(hutch_copy *copy, int take);
/* counts: entries, bytes of files, sockets left out; `path` is that of the present entry. */
void hutch_copy_progress(const hutch_copy *copy, uint64_t counts[3], uint8_t path[COPY_MAX_PATH]);
/* The failure as one line, as copy_failure_line has it; gives its length. */
size_t hutch_copy_error(const hutch_copy *copy, uint8_t *line, size_t size);
void hutch_copy_close(hutch_copy *copy);

#pragma GCC visibility pop

#endif
