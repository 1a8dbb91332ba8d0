/* What a box process gives up before the guest runs. Part of the library that box processes load, which
 * has no dependencies; libhutch.so has it too, to tell what the kernel offers.
 *
 * All threads of the process are meant, those that are to come included: the box process is a Deno,
 * which has several before any of our code runs. While hutch_confine() is at work the process has a
 * handler for one real-time signal, and the state of that handler is the one global. */
#ifndef HUTCH_CONFINE_H
#define HUTCH_CONFINE_H

#include <stdint.h>

#pragma GCC visibility push(default)

/* What the kernel offers, and hutch_confine() did. */
#define HUTCH_CONFINE_LANDLOCK 1u /* files */
#define HUTCH_CONFINE_SECCOMP 2u  /* system calls */

/* The bits, and Landlock's version (0 without) from bit 8 on. */
uint32_t hutch_confine_support(void);

/* From here on:
 *   Landlock  files below `rules` alone can be opened, made or removed. A rule is a letter and a
 *             path, with a NUL after it; one more NUL ends the list. `r` may be read, `w` anything,
 *             `d` have files removed from it. A path that isn't there is left out. /proc/self may be
 *             read: the C library asks there for a stack's size.
 *   seccomp   no programs, no other process's memory, no mounts or namespaces, no kernel modules and
 *             the like, and no new socket of any kind fail with EPERM.
 * Open files and sockets stay. What the kernel lacks is left out; *done gets the bits of the rest. 0, or
 * a negative errno: then the process may be confined in part and shouldn't go on. Once per process. */
int hutch_confine(const char *rules, uint32_t *done);

#pragma GCC visibility pop

#endif
