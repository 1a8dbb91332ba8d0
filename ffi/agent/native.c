/* What the native build has instead of a box and a guest: nothing to make, and a process to end. */
#ifdef HUTCH_NATIVE
#include "agent.h"

#include <stdlib.h>

void box_init(struct box *box) {
  box->state = BOX_NONE;
}

int ending_wait_ms(const struct agent *agent) {
  (void)agent;
  return -1;
}

void ending_step(struct agent *agent) {
  (void)agent;
}

_Noreturn void guest_end(struct agent *agent) {
  agent_close(agent);
  exit(1);
}

#endif
