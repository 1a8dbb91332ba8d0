/* See share.c. */
#ifndef HUTCH_SHARE_H
#define HUTCH_SHARE_H

/* Ends with code 125 and a line on standard error. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Becomes a program: its path and its arguments, and NULL behind them. */
_Noreturn void become(char **program);

/* A socket that listens at a path for this user alone, in place of whatever is there. */
int listen_at(const char *path);

/* `hutch-share beside`, with its arguments. */
_Noreturn void beside(char **arguments);

#endif
