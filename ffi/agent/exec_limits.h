/* Resource limits of a command: the sixteen that Linux knows, by name. */
#ifndef HUTCH_AGENT_EXEC_LIMITS_H
#define HUTCH_AGENT_EXEC_LIMITS_H

#include "failure.h"

#include <stddef.h>
#include <stdint.h>

#define EXEC_LIMIT_COUNT 16
#define EXEC_LIMIT_NONE UINT64_MAX /* as RLIM_INFINITY: unlimited */

struct exec_limit {
  int resource; /* RLIMIT_... */
  uint64_t soft;
  uint64_t hard;
};

/* The resource of a name such as "nofile"; -1 for an unknown one. */
int exec_limit_resource(const uint8_t *name, size_t length);

/* Sets them for this process. 0; or -1 with `failure` filled. */
int exec_limits_set(const struct exec_limit *limits, size_t count, struct failure *failure);

#endif
