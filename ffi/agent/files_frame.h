/* What the programs "files" and "watch" say, one frame each; see files_request.h. */
#ifndef HUTCH_AGENT_FILES_FRAME_H
#define HUTCH_AGENT_FILES_FRAME_H

#include "cbor_out.h"

#define FILES_FRAME_HEAD 8

/* Writes it to standard output, whole. 0 or a negative errno. */
int files_frame_write(const struct cbor_out *head, uint8_t *data, size_t length);

#endif
