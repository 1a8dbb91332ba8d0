/* A command's terminal: a pty of the box's own, whose two sides are the agent and the command. */
#ifndef HUTCH_AGENT_EXEC_TTY_H
#define HUTCH_AGENT_EXEC_TTY_H

#include "failure.h"
#include "request.h"

#include <stdbool.h>
#include <sys/types.h>

struct box;
struct exec;

/* Makes one; `agent` doesn't block. 0; or a negative errno, with neither open. */
int tty_open(const struct box *box, struct request_size size, int *agent, int *command);

/* In the child, the leader of its session: makes its standard input its controlling terminal, and the
 * terminal `owner`'s. 0; or -1 with `failure` filled. */
int tty_take(uid_t owner, struct failure *failure);

/* Changes its size, which the kernel tells those in its foreground. */
void tty_resize(struct exec *exec, struct request_size size);

/* The input ended: says so as the terminal is set to have it typed, if at all. 0 or -ENOMEM. */
int tty_end_input(struct exec *exec, bool at_line_start);

#endif
