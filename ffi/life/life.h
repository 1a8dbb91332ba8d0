/* What a box process has in the file system from its beginning to its end: a lock, by which others see that it
 * lives, and sockets. Part of the library that it loads: Deno's own ways take it several times as long. */
#ifndef HUTCH_LIFE_H
#define HUTCH_LIFE_H

#include <stdint.h>

#pragma GCC visibility push(default)

/* Takes the lock: `flock` of the file `lock`, which is made where it isn't there. Then removes `stale`, if it is
 * there: a file that the process before this one may have left.
 *
 * A descriptor, or a negative errno: -EWOULDBLOCK while somebody else has the lock. */
int32_t hutch_life_begin(const char *lock, const char *stale);

/* Removes files: `paths`, each with a zero byte, and an empty one behind the last. Some may not be there.
 * 0, or the negative errno of the first that can't be removed; the others are. */
int32_t hutch_life_remove(const char *paths);

/* Lets go of the lock, and removes its file unless that has become somebody else's. */
void hutch_life_end(int32_t fd, const char *lock);

#pragma GCC visibility pop

#endif
