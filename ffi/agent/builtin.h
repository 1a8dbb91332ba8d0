/* Programs that the agent has in itself, for work in the box that mustn't depend on what its image
 * has. One runs in a process of its own, in the box's view and as any user, like every command; what
 * a program gets by execve, it gets by a call. */
#ifndef HUTCH_AGENT_BUILTIN_H
#define HUTCH_AGENT_BUILTIN_H

#include <stdbool.h>
#include <stdint.h>

struct builtin {
  const char *name;
  /* Gives the exit code. Its descriptors are 0 to 2 alone; signals are as by default; `argv` ends
   * with NULL. It must use nothing of the agent's state, which is a copy there. */
  int (*main)(int argc, char **argv);
  /* Or this one, of a program whose input or output is in a ring; see ring.h. */
  int (*ring_main)(int argc, char **argv, uint8_t *ring);
  bool reads_ring; /* else it writes */
  /* When its input ends in the middle it takes away what it has half done, and ends. */
  bool tidies;
};

/* NULL: there is none of this name. */
const struct builtin *builtin_find(const char *name);

/* Runs it and ends the process. */
_Noreturn void builtin_run(const struct builtin *builtin, char **argv, uint8_t *ring);

int connect_main(int argc, char **argv);
int files_main(int argc, char **argv);
int freeze_main(int argc, char **argv);
int metrics_main(int argc, char **argv);
int renew_main(int argc, char **argv);
int watch_main(int argc, char **argv);

#endif
