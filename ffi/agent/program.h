/* Finding and starting a program, with an exact reason when it can't be. */
#ifndef HUTCH_AGENT_PROGRAM_H
#define HUTCH_AGENT_PROGRAM_H

#include "failure.h"

#define PROGRAM_DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Replaces this process by argv[0], looked up in env's PATH (or the default one, if env has none)
 * unless it has a '/'. Returns only on failure, with `failure` filled. */
void program_run(char **argv, char **env, struct failure *failure);

#endif
