/* Programs that a box process starts. Part of the library that it loads: Deno's own way copies the tables of
 * all of the process's memory for each, and loads what it needs for that. */
#ifndef HUTCH_CHILD_H
#define HUTCH_CHILD_H

#include <stdint.h>

#pragma GCC visibility push(default)

typedef struct hutch_child hutch_child;

/* The program may be asked: pipes are its standard output, and its standard input unless that is a file. */
#define HUTCH_CHILD_ASKED 1u

/* Starts a program with an environment of nothing but a PATH. It gets no descriptors but these: standard input
 * (the file `input`; where that is "", a pipe or /dev/null), standard output (a pipe, or /dev/null), standard
 * error (a pipe). It is killed when the thread that starts it ends (Linux).
 *
 * `words` are its file's path and its arguments, each with a zero byte, and an empty one behind the last.
 * `folder` is its working folder; "" is the process's own. It holds the file `lock`, which is made where it
 * isn't there, locked for as long as it lives ("": none).
 *
 * 0, or a negative errno: -EWOULDBLOCK while somebody else has the lock. */
int32_t hutch_child_start(const char *words, const char *folder, const char *input, const char *lock, uint32_t how,
                          hutch_child **made);

/* Writes `length` bytes to it and reads a line, which it gives without its end. By one thread at a time.
 * The line's length; -EPIPE when it doesn't read, or ended before a line's end; -EMSGSIZE for a longer one. */
int64_t hutch_child_ask(hutch_child *child, const char *bytes, uint64_t length, char *line, uint64_t size);

/* Waits until it has ended, and reads its standard error meanwhile. Gives its exit code, or the negative number
 * of the signal that ended it; `words` gets the last of what it said, `*length` in and out. Once. */
int32_t hutch_child_wait(hutch_child *child, char *words, uint32_t *length);

/* Sends SIGKILL, unless it has been waited for. By any thread. */
void hutch_child_kill(hutch_child *child);

/* After it was waited for, and when no call is under way. */
void hutch_child_free(hutch_child *child);

#pragma GCC visibility pop

#endif
