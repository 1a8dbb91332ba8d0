/* System calls that a box process does without. */
#ifndef HUTCH_CONFINE_CALLS_H
#define HUTCH_CONFINE_CALLS_H

#include <stdbool.h>

/* Whether the kernel filters, and we know this machine's numbers. */
bool calls_can_be_refused(void);

/* Refuses them in every thread. 0, or a negative errno. */
int calls_refuse(void);

#endif
