/* See main.c. */
#ifndef HUTCH_SHARE_H
#define HUTCH_SHARE_H

#include <stdbool.h>

/* Ends with code 125 and a line on standard error. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Becomes a program: its path and its arguments, and NULL behind them. */
_Noreturn void become(char **program);

/* A socket that listens at a path for this user alone, in place of whatever is there. */
int listen_at(const char *path);

/* Locks (flock) a file, for which it waits so long. False with errno: EWOULDBLOCK when somebody else has it. */
bool lock_within(int fd, int how, unsigned limit_ms);

/* Each with its arguments, of `hutch-share enter`, `lock`, ... */
_Noreturn void enter_folder(char **arguments);
_Noreturn void lock_disks(char **arguments);
_Noreturn void listen_for(char **arguments);
_Noreturn void beside(char **arguments);

#endif
