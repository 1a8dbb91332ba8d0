/* What this process gives up before it reads the first frame. */
#ifndef HUTCH_NET_JAIL_H
#define HUTCH_NET_JAIL_H

/* No new privileges, no capabilities but those for low ports and echoes, no dumps, no programs to run,
 * and no way to change files or other processes. 0, or a negative errno. */
int jail_enter(void);

#endif
