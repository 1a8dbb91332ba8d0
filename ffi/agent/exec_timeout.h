/* The time a command may take: TERM to its process group when that is over, KILL after a grace. */
#ifndef HUTCH_AGENT_EXEC_TIMEOUT_H
#define HUTCH_AGENT_EXEC_TIMEOUT_H

#include <stdint.h>

struct exec;

/* Starts the clock. 0 or a negative errno. */
int exec_timeout_start(struct exec *exec, uint32_t timeout_ms, uint32_t grace_ms);

/* Stops it; nothing happens if it doesn't run. */
void exec_timeout_stop(struct exec *exec);

#endif
