/* Inside of unpacking: what its files share. */
#ifndef HUTCH_COPY_UNPACK_H
#define HUTCH_COPY_UNPACK_H

#include "copy.h"

/* What a new thing is to have once nothing is written to it any more. */
struct copy_traits {
  bool set;
  uint32_t mode, uid, gid, nanos;
  int64_t seconds;
};

/* An open folder on the way to the present entry. */
struct copy_level {
  int fd;
  size_t length; /* of its path */
  struct copy_traits traits;
};

/* Which files this copy made: a table of hashes of their numbers. */
struct copy_made {
  uint64_t *slots;
  size_t count, capacity; /* a power of two */
};

struct copy_unpack {
  uint32_t flags;
  struct copy_owner owner;
  uint64_t max_bytes, max_entries;
  char *destination, *name;
  struct copy_failure failure;
  struct copy_reader reader;
  bool begun, asking, finished;
  bool top_only; /* the tree is one file: nothing may follow */
  char prefix[COPY_MAX_PATH]; /* what the tree is called below the base; "" where it is the base itself */
  size_t hidden;              /* bytes of paths that are the destination's own name: not shown */
  char path[COPY_MAX_PATH];   /* of the present entry, below the base */
  char refused[COPY_MAX_PATH]; /* a folder that isn't wanted, nor what is below */
  char at[COPY_MAX_PATH];     /* path of the innermost open folder */
  struct copy_level levels[COPY_MAX_DEPTH]; /* the first is the base */
  size_t depth;
  int file; /* being written; -1: none, or its content isn't wanted */
  char file_name[256];
  struct copy_traits file_traits;
  uint64_t entries, bytes, promised;
  struct copy_made made;
};

/* unpack_base.c: finds or makes the destination; opens the base, and sets the prefix. */
int copy_base_open(struct copy_unpack *unpack, bool folder);

/* unpack_folders.c */
/* The entry's own path from an archive's: relative, without "." and "..". */
int copy_path_clean(struct copy_unpack *unpack, const char *from, char *path);
/* Opens the folders that a path is in, made where they are missing, and gives its last name. */
int copy_folders_enter(struct copy_unpack *unpack, const char *path, const char **name);
int copy_folder_make(struct copy_unpack *unpack, const char *name, const struct copy_traits *traits);
/* Closes those that aren't on the way to `path`; NULL: all but the base. */
int copy_folders_leave(struct copy_unpack *unpack, const char *path);
/* The folder of a path that is there already, opened; or a failure. */
int copy_folder_find(struct copy_unpack *unpack, const char *path, const char **name);
/* A path as people see it: below the destination. */
const char *copy_shown(const struct copy_unpack *unpack, const char *path);
/* Says it of the present entry. */
int copy_unpack_error(struct copy_unpack *unpack, int code, const char *doing);

/* unpack_place.c: puts one entry in its place. */
int copy_place(struct copy_unpack *unpack, const struct copy_entry *entry);
int copy_file_end(struct copy_unpack *unpack);
void copy_file_drop(struct copy_unpack *unpack);
int copy_traits_apply(struct copy_unpack *unpack, int fd, const struct copy_traits *traits);

/* unpack_made.c */
int copy_made_add(struct copy_unpack *unpack, int folder, const char *name);
bool copy_made_has(const struct copy_unpack *unpack, int folder, const char *name);

#endif
