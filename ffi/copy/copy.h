/* Copies of files and trees as tar streams. The same code runs on both sides of a box's wall: in the
 * helper library for the host, in the agent's programs `unpack` and `pack` for the guest.
 *
 * A stream that packing makes is of one tree: its first entry is the tree's top, named as the caller
 * says, and all others are below it. Unpacking follows no link below its destination, whoever made
 * it: each folder on the way is opened by its name in the one before. */
#ifndef HUTCH_COPY_H
#define HUTCH_COPY_H

#include "fields.h"

#include <stdarg.h>

#define COPY_MAX_PATH 4096u /* of a path in bytes, with the NUL behind it */
#define COPY_MAX_DEPTH 256u /* folders within one another: each costs a descriptor */
#define COPY_LARGE (1024u * 1024) /* files from here on are worth a way of their own */

/* ---- failure.c: what went wrong, and where ---- */

struct copy_failure {
  int code; /* errno */
  char text[128];
  char path[COPY_MAX_PATH]; /* raw bytes; "" where it is about no path */
};

/* Keeps the first failure; gives -code. */
int copy_fail(struct copy_failure *failure, int code, const char *path, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* One line, "E ERRNO TEXT\tPATH\n", whose path has \xNN for what isn't printable ASCII or is a
 * backslash. As snprintf does, gives the length that it has whole; 5 * COPY_MAX_PATH is enough. */
size_t copy_failure_line(const struct copy_failure *failure, char *line, size_t size);

/* ---- owner.c: whom files belong to on the other side ---- */

struct copy_range {
  uint32_t to, from, count;
};

enum copy_owners {
  COPY_OWNERS_NONE,  /* whoever unpacks: the tar's are ignored, root's are written */
  COPY_OWNERS_KEEP,
  COPY_OWNERS_FIXED, /* all are `uid` and `gid` */
  COPY_OWNERS_MAP    /* by `ranges`; an id in none of them is a failure */
};

struct copy_owner {
  uint32_t kind, uid, gid, count;
  const struct copy_range *ranges; /* `count` of them, the caller's */
};

/* False: the map doesn't have it. */
bool copy_owner_map(const struct copy_owner *owner, uint32_t id, bool group, uint32_t *mapped);

/* ---- reader.c: from bytes to entries ---- */

struct copy_entry {
  char type; /* '0' file, '1' hard link, '2' symlink, '3' and '4' devices, '5' folder, '6' fifo */
  const char *path, *link; /* the reader's */
  uint32_t mode, uid, gid, nanos, major, minor;
  int64_t seconds;
  uint64_t size;
};

enum copy_event {
  COPY_MORE,  /* all bytes were taken */
  COPY_ENTRY, /* `entry` is known */
  COPY_DATA,  /* `data` holds the next bytes of its content */
  COPY_END    /* its content is over; comes after each entry */
};

struct copy_reader {
  int state;
  uint8_t block[TAR_BLOCK];
  size_t fill;
  bool zero_block, extended;
  char kind; /* of the extension being read */
  uint64_t left, padding; /* of the content or the extension's body */
  char *body;
  size_t body_fill;
  char path[COPY_MAX_PATH], link[COPY_MAX_PATH]; /* of the entry, or what extensions said about the next */
  bool has_path, has_link, has_size, has_uid, has_gid, has_time;
  uint64_t size, uid, gid;
  int64_t seconds;
  uint32_t nanos;
  struct copy_entry entry;
  const uint8_t *data;
  size_t data_length;
  struct copy_failure *failure;
};

void copy_reader_init(struct copy_reader *reader, struct copy_failure *failure);
/* Takes bytes up to the next event; *used says how many. An event, or a negative errno. */
int copy_reader_step(struct copy_reader *reader, const uint8_t *bytes, size_t length, size_t *used);
/* Bytes of content that come next, whatever else is read. */
uint64_t copy_reader_left(const struct copy_reader *reader);
/* Somebody else took so many of them. */
void copy_reader_took(struct copy_reader *reader, uint64_t count);
/* Whether the archive may end here. */
bool copy_reader_whole(const struct copy_reader *reader);
void copy_reader_free(struct copy_reader *reader);

/* ---- unpack.c ---- */

enum {
  COPY_OVERWRITE = 1 << 0, /* what is there gives way, unless a folder meets something else */
  COPY_PARENTS = 1 << 1,   /* makes what is missing of the destination */
  COPY_INTO = 1 << 2,      /* a tree's folder goes into the destination, by its name */
  COPY_INTO_OLD = 1 << 3,  /* the same, where the destination is there */
  COPY_ARCHIVE = 1 << 4,   /* the stream is any tar, unpacked into the destination */
  COPY_GUARDED = 1 << 5,   /* the stream is a guest's: no devices, no set-id bits, no links to old files */
  COPY_ASK = 1 << 6,       /* stop at each entry below the top until copy_*_answer */
  COPY_MODES = 1 << 7,
  COPY_TIMES = 1 << 8,
  COPY_FOLLOW = 1 << 9,    /* pack what symlinks lead to */
  COPY_NO_LINKS = 1 << 10, /* pack a file as often as it has names */
  COPY_STOP_LARGE = 1 << 11, /* taking bytes stops where the content of a large file begins */
  COPY_OWNERS = 1 << 16    /* for the agent's programs: keep the tar's owners */
};

struct copy_unpack_options {
  uint32_t flags;
  struct copy_owner owner;
  uint64_t max_bytes, max_entries; /* 0: no limit */
};

struct copy_unpack;

/* `name` is what the tree is called within another folder; "." for a root folder, whose contents go
 * there. The destination is looked at when the
 * first entry came. NULL: no memory. The strings are copied; the owner's ranges aren't. */
struct copy_unpack *copy_unpack_open(const char *destination, const char *name,
                                     const struct copy_unpack_options *options);
/* Gives how many bytes were taken: all, unless it asks about an entry or stops at a large file. */
int64_t copy_unpack_push(struct copy_unpack *unpack, const uint8_t *bytes, size_t length);
/* The entry that it asks about, or NULL. */
const struct copy_entry *copy_unpack_asks(const struct copy_unpack *unpack);
void copy_unpack_answer(struct copy_unpack *unpack, bool take);
/* The stream is over. */
int copy_unpack_finish(struct copy_unpack *unpack);
/* What was written in part is taken away. */
void copy_unpack_close(struct copy_unpack *unpack);
const struct copy_failure *copy_unpack_failure(const struct copy_unpack *unpack);
uint64_t copy_unpack_entries(const struct copy_unpack *unpack);
uint64_t copy_unpack_bytes(const struct copy_unpack *unpack);
const char *copy_unpack_path(const struct copy_unpack *unpack);
/* Where the next `*left` bytes of the stream belong, for somebody who has a faster way there; or -1. */
int copy_unpack_file(const struct copy_unpack *unpack, uint64_t *left);
void copy_unpack_moved(struct copy_unpack *unpack, uint64_t count);

/* ---- pack.c ---- */

struct copy_pack_options {
  uint32_t flags;
  struct copy_owner owner;
};

struct copy_pack;

/* `name` is the tree's in the stream. NULL: no memory. Strings and ranges as above. */
struct copy_pack *copy_pack_open(const char *source, const char *name, const struct copy_pack_options *options);
/* Gives how many bytes came; 0 at the end, or when it asks about an entry. */
int64_t copy_pack_read(struct copy_pack *pack, uint8_t *buffer, size_t size);
const struct copy_entry *copy_pack_asks(const struct copy_pack *pack);
void copy_pack_answer(struct copy_pack *pack, bool take);
void copy_pack_close(struct copy_pack *pack);
const struct copy_failure *copy_pack_failure(const struct copy_pack *pack);
uint64_t copy_pack_entries(const struct copy_pack *pack);
uint64_t copy_pack_bytes(const struct copy_pack *pack);
/* Sockets that were left out. */
uint64_t copy_pack_skipped(const struct copy_pack *pack);
const char *copy_pack_path(const struct copy_pack *pack);
/* The file whose next `*left` bytes the stream goes on with; or -1. */
int copy_pack_file(const struct copy_pack *pack, uint64_t *left);
void copy_pack_sent(struct copy_pack *pack, uint64_t count);

#endif
