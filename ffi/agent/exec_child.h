/* The child's side of starting a command: everything between fork and execve. */
#ifndef HUTCH_AGENT_EXEC_CHILD_H
#define HUTCH_AGENT_EXEC_CHILD_H

#include "exec_caps.h"
#include "exec_limits.h"
#include "failure.h"

#include <stdint.h>
#include <sys/types.h>

struct box;
struct builtin;

/* What the child writes into its report pipe: once before execve, with kind FAILURE_NONE, and once
 * more if it failed. The pipe's end without a failure means that the command runs. */
struct child_report {
  pid_t pid; /* as the child sees itself */
  struct failure failure;
};

struct child_plan {
  char **argv;
  char **env;        /* ends with NULL and has room for one more entry */
  size_t env_count;
  const char *cwd;
  const char *user;
  const struct exec_limit *limits;
  size_t limit_count;
  struct exec_caps caps;
  bool no_new_privileges;
  const struct builtin *builtin; /* what runs instead of a program of the box; or NULL */
  uint8_t *ring;      /* the builtin's, if it has one */
  int in, out, error; /* become 0, 1, 2 */
  bool tty;           /* the three are a terminal */
  int report;
  int private_fd;     /* the channel: closed first of all */
  const struct box *box; /* what to enter; NULL: it is there. Unused natively */
};

_Noreturn void exec_child(struct child_plan *plan);

#endif
