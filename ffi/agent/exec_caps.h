/* The capabilities of a command: what it may have at most, and what it has from its start. */
#ifndef HUTCH_AGENT_EXEC_CAPS_H
#define HUTCH_AGENT_EXEC_CAPS_H

#include "failure.h"

#include <stdbool.h>
#include <stdint.h>

struct exec_caps {
  bool set;      /* false: as the system gives them */
  uint64_t keep; /* bit N: capability number N; all that the command and its children can ever have */
  uint64_t give; /* of those: what it has even as another user than root */
};

/* Takes all others out of the bounding set. To be called while still root. */
int exec_caps_bound(const struct exec_caps *caps, struct failure *failure);

/* Lets what is permitted survive the change to another user. */
int exec_caps_hold(struct failure *failure);

/* Becomes what the command is to have: root has all that is kept, by execve's own rules; anybody else
 * has what is given, as ambient ones. To be called as that user. */
int exec_caps_take(const struct exec_caps *caps, bool is_root, struct failure *failure);

#endif
