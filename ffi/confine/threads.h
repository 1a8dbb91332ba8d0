/* Doing something in every thread of this process. */
#ifndef HUTCH_CONFINE_THREADS_H
#define HUTCH_CONFINE_THREADS_H

/* Calls `call(argument)` in each thread, the caller's included, and waits for that. Async-signal-safe
 * functions alone: the others do it in a signal handler. Gives the first error of a call, -ETIMEDOUT
 * when a thread doesn't come in 5 s, or 0. */
int threads_all(int (*call)(int), int argument);

#endif
