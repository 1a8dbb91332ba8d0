/* From a tar's entries to the tree: what tar.c, pax.c, sparse.c and layer.c share. */
#ifndef HUTCH_LAYER_H
#define HUTCH_LAYER_H

#include "image.h"

/* Of the bodies of extension headers. */
#define MAX_EXTENSION (1024u * 1024u)
#define MAX_RANGES (1024u * 1024u)

/* One entry, decoded; the pointers are the parser's. */
struct entry {
  struct text path, link;
  char type; /* '0' file, '1' hard link, '2' symlink, '3' and '4' devices, '5' folder, '6' fifo */
  uint32_t mode, uid, gid, nanos, major, minor;
  int64_t seconds;
  uint64_t size;           /* of the file, holes included */
  const struct range *map; /* where its bytes belong */
  size_t map_count;
};

struct string {
  char *bytes;
  size_t length;
  bool set;
};

/* What extension headers said about the next entry. */
struct extension {
  struct string path, link, sparse_name;
  bool has_size, has_uid, has_gid, has_time, has_real_size, has_map, has_offset;
  uint64_t size, uid, gid, real_size, offset;
  int64_t seconds;
  uint32_t nanos;
  uint64_t sparse_major, sparse_minor;
  struct attribute *attributes;
  uint64_t attribute_bytes; /* as the file system will store them, about */
};

enum tar_state {
  TAR_HEADER,   /* fills `block` with a header */
  TAR_BODY,     /* collects an extension's body */
  TAR_OLD_MAP,  /* fills `block` with more of an old GNU sparse map */
  TAR_TEXT_MAP, /* fills `block` with a GNU 1.0 sparse map */
  TAR_DATA,     /* gives bytes to the file */
  TAR_SKIP,     /* drops bytes */
  TAR_END       /* drops all that follows */
};

struct tar {
  enum tar_state state;
  uint8_t block[TAR_BLOCK];
  size_t fill;
  bool zero_block; /* one was read */
  bool named;      /* `entry.path` is that of the entry being read */
  char kind;       /* of the extension being read */
  uint64_t left;   /* bytes left of the entry's data or the extension's body */
  uint64_t padding; /* bytes behind it */
  struct string body;
  char name[TAR_BLOCK], link[TAR_BLOCK]; /* from the header's own fields */
  struct extension extension;
  struct range *map;
  size_t map_count, map_capacity, map_index;
  uint64_t map_done; /* bytes of the current range already seen */
  uint64_t text_wanted, text_seen, text_value, text_offset; /* TAR_TEXT_MAP's numbers */
  bool text_digits;
  struct entry entry;
  struct writer writer;
};

/* tar.c */
void tar_free(struct hutch_ext4 *fs);

/* pax.c */
int pax_apply(struct hutch_ext4 *fs, struct text body);
int string_set(struct hutch_ext4 *fs, struct string *string, struct text value);
void string_free(struct string *string);
void extension_reset(struct hutch_ext4 *fs, struct extension *extension);

/* attribute.c */
int attribute_add(struct hutch_ext4 *fs, struct extension *extension, struct text name,
                  struct text value);

/* header.c: fields of a header block */
/* Fills tar->entry from the block and the extension. */
int header_entry(struct hutch_ext4 *fs);

/* sparse.c */
int sparse_add(struct hutch_ext4 *fs, uint64_t offset, uint64_t length);
int sparse_old_entries(struct hutch_ext4 *fs, const uint8_t *fields, size_t count);
int sparse_text(struct hutch_ext4 *fs, bool *done);
/* Checks the map against the file's size and the bytes that follow. */
int sparse_check(struct hutch_ext4 *fs);

/* layer.c */
int layer_apply(struct hutch_ext4 *fs, struct entry *entry, struct extension *extension,
                struct writer *writer);
int symlink_set(struct hutch_ext4 *fs, struct inode *inode, struct text target);

/* image.c */
int image_ready(struct hutch_ext4 *fs);

#endif
