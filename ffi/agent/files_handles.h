/* The open files of the program "files", by the numbers that its requests have; for several threads. */
#ifndef HUTCH_AGENT_FILES_HANDLES_H
#define HUTCH_AGENT_FILES_HANDLES_H

#include <stdbool.h>
#include <stdint.h>

/* 0 with *number set; -EMFILE, and `fd` stays the caller's. */
int files_handle_add(int fd, uint32_t *number);

/* Its descriptor, to use until files_handle_release; or -EBADF. */
int files_handle_use(uint32_t number);

/* It isn't used any more. `close_it`: nor will it be again. 0, or what close said. */
int files_handle_release(uint32_t number, bool close_it);

#endif
