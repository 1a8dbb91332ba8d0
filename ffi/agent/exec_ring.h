/* The agent's side of a program's ring; see ring.h. */
#ifndef HUTCH_AGENT_EXEC_RING_H
#define HUTCH_AGENT_EXEC_RING_H

#include "exec.h"

/* A piece for a program that reads its ring. */
void ring_input(struct exec *exec, const struct exec_piece *piece);
/* Tells the program how far the ring is, as soon as its pipe takes it. */
void ring_tell(struct exec *exec);
/* Hears how far the program is, and sends what is there of one frame. True: there may be more at once. */
bool ring_produce(struct exec *exec);
void ring_drop(struct exec *exec);

#endif
