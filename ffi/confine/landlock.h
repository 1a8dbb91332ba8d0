/* Landlock, for every thread of this process. */
#ifndef HUTCH_CONFINE_LANDLOCK_H
#define HUTCH_CONFINE_LANDLOCK_H

/* Its version, 0 where the kernel has none or it is switched off. */
int landlock_version(void);

/* Makes rules from a list as hutch_confine() takes it. A descriptor, or a negative errno. */
int landlock_rules(int version, const char *list);

/* Applies them to the calling thread. 0, or a negative errno. */
int landlock_enter(int rules);

#endif
