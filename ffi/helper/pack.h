/* Reads a folder of the host as a tar, piece by piece: the public part is what ffi/symbols.ts has.
 *
 * Nothing is followed out of the folder: every name is opened below the folder that it was found in,
 * without following links. What is mounted inside of it is left out, as `tar --one-file-system` does. */
#ifndef HUTCH_PACK_H
#define HUTCH_PACK_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)

typedef struct hutch_pack hutch_pack;

/* Ids from `outside` on become those from `inside` on. */
struct hutch_pack_range {
  uint32_t inside, outside, count;
};

struct hutch_pack_options {
  uint64_t max_entries; /* 0 = 5,000,000 */
  uint32_t ranges;      /* how many follow this struct; 0: ids stay as they are */
  uint32_t fixed;       /* not 0: all belong to `uid` and `gid` */
  uint32_t uid, gid;
};

/* Opens a folder. With `earlier`, a pack of the same folder that was read to its end, every entry must
 * be as it was then. -ENOENT, -ENOTDIR, -EACCES, ... */
int hutch_pack_open(const char *path, const struct hutch_pack_options *options,
                    const hutch_pack *earlier, hutch_pack **out);
/* The next bytes of the tar; 0 at its end, or a negative errno, which every further call returns again:
 * -ESTALE: something changed while it was read; -EFBIG: a limit; -EILSEQ: it holds what a layer can't;
 * else what the system said of a name. Meant to be called "nonblocking" from Deno. */
int64_t hutch_pack_read(hutch_pack *pack, uint8_t *buffer, size_t size);
/* How many sockets (0) and mounts' contents (1) were left out so far. */
uint64_t hutch_pack_left_out(const hutch_pack *pack, uint32_t what);
/* One line about the failure. */
const char *hutch_pack_error(const hutch_pack *pack);
void hutch_pack_close(hutch_pack *pack);

/* The first place of a file from `offset` on that isn't in a hole; its end if there is none, or a
 * negative errno. */
int64_t hutch_next_data(const char *path, uint64_t offset);

#pragma GCC visibility pop

/* ---- inside --------------------------------------------------------------------------------- */

#include <stdbool.h>
#include <sys/stat.h>

#define PACK_BLOCK 512u
#define PACK_MAX_DEPTH 256u
#define PACK_MAX_PATH 4096u
#define PACK_MAX_RANGES 65536u

struct pack_bytes {
  char *bytes;
  size_t length, capacity;
};

/* A folder that is being read: its names, sorted. */
struct pack_folder {
  int fd;
  char **names;
  size_t count, next;
  size_t path_length; /* of its path, with a slash unless it is the top */
};

/* A file with several names. */
struct pack_link {
  uint64_t inode;
  uint32_t major, minor;
  char *path; /* NULL: a free place */
};

struct pack_extent {
  uint64_t start, length;
};

/* What each entry looked like, for whoever reads the folder again. */
struct pack_marks {
  unsigned users;
  size_t count, capacity;
  uint32_t *values;
};

struct hutch_pack {
  struct hutch_pack_options options;
  struct hutch_pack_range *ranges;
  int failed;
  char error[768];
  uint64_t left_out[2];

  struct pack_folder stack[PACK_MAX_DEPTH];
  size_t depth;
  char path[PACK_MAX_PATH]; /* of the present entry, without a slash before it */
  size_t path_length;

  struct pack_link *links;
  size_t link_count, link_capacity;
  struct pack_marks *marks;         /* written */
  const struct pack_marks *earlier; /* compared with; NULL: nothing */
  struct pack_marks *held;          /* the same, to let go of */

  /* Finds the present entry's attributes in another place than the host's files, for `owner`. */
  int (*attributes)(struct hutch_pack *pack, struct pack_bytes *records);
  void *owner;

  struct pack_bytes head; /* what goes out before anything else */
  size_t head_at;
  int file; /* that is being copied; -1: none */
  struct statx file_status;
  struct pack_extent *extents;
  size_t extent_count, extent;
  uint64_t extent_at, padding;
  bool ended;
};

int pack_error(struct hutch_pack *pack, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same about the present entry. */
int pack_entry_error(struct hutch_pack *pack, int code, const char *problem);

int bytes_add(struct hutch_pack *pack, struct pack_bytes *bytes, const void *add, size_t length);
int bytes_zero(struct hutch_pack *pack, struct pack_bytes *bytes, size_t length);

/* One more folder on the stack, which is pack->path; takes `fd`. */
int pack_enter(struct hutch_pack *pack, int fd);
void pack_leave(struct hutch_pack *pack);
/* The folder that the present entry is in, and its name there. */
int pack_parent(const struct hutch_pack *pack, const char **name);

/* The path under which the same file came before, or NULL when it is new and now remembered. */
int pack_known(struct hutch_pack *pack, const struct statx *status, const char **path);

/* One pax record more. */
int pack_record(struct hutch_pack *pack, struct pack_bytes *records, const char *key,
                const void *value, size_t length);
int pack_number(struct hutch_pack *pack, struct pack_bytes *records, const char *key,
                uint64_t number);
/* The modification time, also one before 1970. */
int pack_time(struct hutch_pack *pack, struct pack_bytes *records, int64_t seconds, uint32_t nanos);
/* The present entry's extended attributes. */
int pack_attributes(struct hutch_pack *pack, struct pack_bytes *records);

/* Puts the present entry's headers into pack->head. `link`: another name or a target, or NULL. */
int pack_header(struct hutch_pack *pack, const struct statx *status, char type, const char *link,
                uint64_t size);
/* Finds where the open file holds data. */
int pack_extents(struct hutch_pack *pack);
/* Compares what head has with the earlier reading, and notes it. */
int pack_mark(struct hutch_pack *pack);

#endif
