/* What the program "files" is asked, one frame each: u32 head length (BE) | u32 data length (BE) | head,
 * a CBOR map | data, raw bytes. Replies have the same frame. src/box/files_wire.ts is the other side.
 *
 * Request's head: {id, op, ...}, with the keys that OPS in files_request.c says. A reply's: {id, errno}
 * if it failed, else {id, ...} as files_do.c says. Replies come in any order. */
#ifndef HUTCH_AGENT_FILES_REQUEST_H
#define HUTCH_AGENT_FILES_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILES_MAX_HEAD (16 * 1024)
#define FILES_MAX_DATA (256 * 1024) /* of a request, and of a reply */

enum files_op {
  FILES_OPEN, FILES_LOAD, FILES_STORE, FILES_CLOSE, FILES_READ, FILES_WRITE, FILES_TRUNCATE, FILES_SYNC, FILES_STAT, FILES_LIST, FILES_MKDIR,
  FILES_REMOVE, FILES_RENAME, FILES_COPY, FILES_LINK, FILES_SYMLINK, FILES_READ_LINK, FILES_REAL_PATH, FILES_CHMOD,
  FILES_CHOWN, FILES_UTIME, FILES_OP_COUNT
};

/* Bits of `flags`. */
enum {
  FILES_FOR_READING = 1, FILES_FOR_WRITING = 2, FILES_APPENDING = 4, FILES_EMPTIED = 8, FILES_MADE = 16,
  FILES_NEW = 32, FILES_SET_MODE = 64, /* open, load, store */
  FILES_RECURSIVE = 128,             /* mkdir, remove */
  FILES_NOT_FOLLOWED = 256,          /* stat, utime, chown: a link itself */
  FILES_DATA_ONLY = 512,             /* sync */
};

struct files_request {
  uint32_t id;
  enum files_op op;
  const char *path;
  const char *to;      /* rename, copy, link, symlink: the second path */
  bool has_handle;     /* instead of a path */
  uint32_t handle;
  uint32_t flags;
  uint32_t mode;       /* 0 to 07777 */
  bool has_offset;
  int64_t offset;      /* read, write: where; at the file's own position if it isn't there */
  int64_t length;      /* read: at most so many bytes; truncate: the new length */
  int64_t uid, gid;    /* -1: stays */
  int64_t atime, mtime;           /* whole seconds */
  uint32_t atime_ns, mtime_ns;    /* and what is over */
  const uint8_t *data; /* points into the frame */
  size_t data_length;
  char *text;          /* what the paths point into */
};

/* Reads head and data. 0; or -EBADMSG or -ENOMEM with *why set. Free a good one with files_request_free. */
int files_request_parse(const uint8_t *head, size_t head_length, const uint8_t *data, size_t data_length,
                        struct files_request *request, const char **why);
void files_request_free(struct files_request *request);

#endif
