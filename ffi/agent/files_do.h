/* The operations of the program "files". */
#ifndef HUTCH_AGENT_FILES_DO_H
#define HUTCH_AGENT_FILES_DO_H

#include "cbor_out.h"
#include "files_request.h"

struct files_reply {
  struct cbor_out head; /* a map; its count is set at last */
  unsigned pairs;
  uint8_t *data;        /* or NULL; the caller frees it */
  size_t data_length;
};

/* Does what is asked; may be called by several threads. 0 with what `reply` says added to it; or a
 * negative errno. */
int files_do(const struct files_request *request, struct files_reply *reply);

/* Removes a file, or a folder with all that is in it. 0 or a negative errno. Links aren't followed. */
int files_remove(const char *path, bool recursive);

/* Makes a folder, and those above it that are missing. 0 or a negative errno. */
int files_make_folders(const char *path, unsigned mode);

/* Copies bytes and mode of a regular file; replaces what `to` holds. 0 or a negative errno. */
int files_copy(const char *from, const char *to);

#endif
