/* What box processes, and what serves files to their machines, are started by.
 *
 *   hutch-share enter FOLDER [MODE TAG PATH]... -- PROGRAM [ARG...]
 *     Becomes PROGRAM in a mount namespace in which FOLDER holds PATH under the name TAG. MODE is "ro"
 *     or "rw"; what is "ro" can't be written there by anybody, which no file server has to be trusted
 *     with. Behind it ",map=U:V:G:H" makes what belongs to user U and group G belong to V and H there,
 *     and ",try=..." does the same where that is possible.
 *
 *   hutch-share lock [MODE FILE]... -- PROGRAM [ARG...]
 *     Becomes PROGRAM with locks (flock) on FILEs that go with it and what it starts: MODE is "ex" for
 *     one that nobody else has, "sh" for one that is shared with others of this kind.
 *
 *   hutch-share listen SOCKET -- PROGRAM [ARG...]
 *     Becomes PROGRAM with a socket that listens at the path SOCKET as descriptor 3 and the working
 *     folder as descriptor 4, and says so by an empty line on standard output. (virtiofsd's own socket
 *     leaves a file behind, and its options take no path with a comma.)
 *
 *   hutch-share beside LIFE OWN [NETWORK] -- PROGRAM [ARG...]
 *     Becomes PROGRAM beside a process that waits for an order, see beside.c.
 *
 * Without the right to mount it takes a user namespace of its own, in which the caller is root and
 * nobody else is there. Ends with code 125 and a line on standard error when something fails. */
#define _GNU_SOURCE 1
#include "share.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(125);
}

_Noreturn void become(char **program) {
  if (*program == NULL) fail("Cannot go on: no program is named");
  execv(program[0], program);
  fail("Cannot run %s: %s", program[0], strerror(errno));
}

int main(int count, char **arguments) {
  (void)count;
  if (arguments[1] != NULL && strcmp(arguments[1], "enter") == 0) enter_folder(arguments + 2);
  if (arguments[1] != NULL && strcmp(arguments[1], "lock") == 0) lock_disks(arguments + 2);
  if (arguments[1] != NULL && strcmp(arguments[1], "listen") == 0) listen_for(arguments + 2);
  if (arguments[1] != NULL && strcmp(arguments[1], "beside") == 0) beside(arguments + 2);
  fail("usage: hutch-share enter|lock|listen|beside ...");
}
