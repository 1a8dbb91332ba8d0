/* Inside of packing: what its files share. */
#ifndef HUTCH_COPY_PACK_H
#define HUTCH_COPY_PACK_H

#include "copy.h"

#include <dirent.h>
#include <sys/stat.h>

/* A folder whose names are being read. */
struct copy_folder {
  DIR *names;
  size_t length; /* of its path */
  dev_t device;
  ino_t inode;
};

/* The first name of a file that has several. */
struct copy_link {
  dev_t device;
  ino_t inode;
  char *path; /* NULL: a free slot */
};

struct copy_bytes {
  uint8_t *bytes;
  size_t length, capacity;
};

struct copy_pack {
  uint32_t flags;
  struct copy_owner owner;
  char *source, *name;
  struct copy_failure failure;
  bool begun, ended, asking;
  char path[COPY_MAX_PATH]; /* in the stream */
  char target[COPY_MAX_PATH]; /* of the present symlink or hard link */
  struct copy_entry entry;
  struct stat status; /* of the present entry */
  int parent; /* of the present entry; -1: the entry is the top */
  const char *leaf; /* its name there */
  struct copy_folder folders[COPY_MAX_DEPTH];
  size_t depth;
  struct copy_bytes head; /* headers and padding that come next */
  size_t head_at;
  int file; /* whose content comes next; -1: none */
  uint64_t left, padding;
  struct copy_link *links; /* a table by device and inode */
  size_t link_count, link_capacity;
  uint64_t entries, bytes, skipped;
};

int copy_pack_error(struct copy_pack *pack, int code, const char *doing);
int copy_bytes_add(struct copy_pack *pack, struct copy_bytes *to, const void *bytes, size_t length);

/* pack_header.c: adds the present entry's headers. */
int copy_pack_header(struct copy_pack *pack);

/* pack_links.c: *path is the name of the file that came before, or NULL; then it is this one. */
int copy_pack_known(struct copy_pack *pack, const char **path);
void copy_pack_forget(struct copy_pack *pack);

#endif
