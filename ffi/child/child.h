/* Starting programs: a box process's, and box processes. Deno's own way copies the tables of all of the process's
 * memory for each, and loads what it needs for that. */
#ifndef HUTCH_CHILD_H
#define HUTCH_CHILD_H

#include <stdint.h>

#pragma GCC visibility push(default)

typedef struct hutch_child hutch_child;

/* The program may be asked: pipes are its standard output, and its standard input unless that is a file. */
#define HUTCH_CHILD_ASKED 1u
/* It is the first of a session of its own, and lives on when the thread that starts it has ended. Others are
 * killed then (Linux). */
#define HUTCH_CHILD_PARTED 2u
/* Its descriptor HUTCH_CHILD_THIRD is a pipe, by which it can be told something once. */
#define HUTCH_CHILD_TOLD 4u

#define HUTCH_CHILD_THIRD 3

#define HUTCH_CHILD_PATHS 4

/* Starts a program. It gets no descriptors but its standard input, output (a pipe, or /dev/null) and error, and
 * as HUTCH_CHILD_THIRD `third` (-1: none), which is closed here.
 *
 * `words` are its file's path and its arguments, `environment` its variables (none: a PATH alone), each with a
 * zero byte, and an empty one behind the last. `paths` are HUTCH_CHILD_PATHS, each with a zero byte: its working
 * folder ("": the process's own); its standard input ("": a pipe, or /dev/null); its standard error, which is made
 * or cut ("": a pipe); and a file that it holds locked for as long as it lives, which is made where it isn't there
 * ("": none).
 *
 * 0, or a negative errno: -EWOULDBLOCK while somebody else has the lock. */
int32_t hutch_child_start(const char *words, const char *environment, const char *paths, int32_t third, uint32_t how,
                          hutch_child **made);

/* What `hutch-share beside` has left to the program that it became. */
struct hutch_beside {
  hutch_child *child; /* which waits, or runs already */
  int32_t transfer; /* a file without a name, for the transfer disk */
  int32_t network; /* a socket that listens for the machine's network device, or -1 */
};

/* Takes it. 0; -ENOENT: there is nothing, or no more; or another negative errno. */
int32_t hutch_child_beside(struct hutch_beside *beside);

/* Its process's number. */
int32_t hutch_child_pid(const hutch_child *child);

/* 1 when waiting for it would take no time, else 0. Not while it is waited for. */
int32_t hutch_child_has_ended(const hutch_child *child);

/* Writes `length` bytes to it and reads a line, which it gives without its end. By one thread at a time.
 * The line's length; -EPIPE when it doesn't read, or ended before a line's end; -EMSGSIZE for a longer one. */
int64_t hutch_child_ask(hutch_child *child, const char *bytes, uint64_t length, char *line, uint64_t size);

/* Writes `length` bytes to it, the last ones: its input ends. 0 or a negative errno. */
int32_t hutch_child_tell_last(hutch_child *child, const char *bytes, uint64_t length);

/* Writes `length` bytes to HUTCH_CHILD_THIRD, which ends then. 0 or a negative errno. */
int32_t hutch_child_tell_third(hutch_child *child, const char *bytes, uint64_t length);

/* Waits until it has ended, and reads its standard error meanwhile. Gives its exit code, or the negative number
 * of the signal that ended it; `words` gets the last of what it said, `*length` in and out. Once. */
int32_t hutch_child_wait(hutch_child *child, char *words, uint32_t *length);

/* Sends a signal, unless it has been waited for. By any thread. */
void hutch_child_signal(hutch_child *child, int32_t number);

/* After it was waited for, and when no call is under way. */
void hutch_child_free(hutch_child *child);

#pragma GCC visibility pop

#endif
