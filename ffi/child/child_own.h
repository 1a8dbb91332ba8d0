/* What the files of this folder share. */
#ifndef HUTCH_CHILD_OWN_H
#define HUTCH_CHILD_OWN_H

#include "child.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Bytes that are read at once. */
enum { HUTCH_CHILD_PIECE = 4096 };

struct hutch_child {
  pid_t pid;
  int ended; /* readable once it has ended; -1 where the kernel has nothing like it */
  int in, out, error, third; /* our ends of its pipes, or -1 */
  pthread_mutex_t lock; /* of the next: its number is its own as long as it wasn't waited for */
  bool waited;
  size_t rest; /* bytes behind the last line */
  char buffer[HUTCH_CHILD_PIECE];
};

/* For the process `pid`, with our ends of its pipes by their number there. */
void hutch_child_fill(hutch_child *child, pid_t pid, const int ours[HUTCH_CHILD_THIRD + 1]);

#endif
