/* The agent's programs that copy; main functions. Arguments: FLAGS, a path, and the tree's name, as for
 * copy_unpack_open and copy_pack_open. The tar is in the ring; on standard error comes, at the end,
 * "S ENTRIES BYTES SKIPPED\n" or copy_failure_line. */
#ifndef HUTCH_AGENT_COPY_PROGRAMS_H
#define HUTCH_AGENT_COPY_PROGRAMS_H

#include "ring.h"

int unpack_main(int argc, char **argv, uint8_t *ring);
int pack_main(int argc, char **argv, uint8_t *ring);

#endif
