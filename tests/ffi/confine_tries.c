/* Confines itself and tries what it must not be able to do any more, in threads that were there
 * before, and in one that comes after. Prints a line "THREAD WHAT ERRNO" each.
 *
 *   confine_tries OWN OTHER    two folders with a file `file` each */
#define _GNU_SOURCE 1
#include "../../ffi/confine/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *own, *other;
static pthread_barrier_t confined;

static void say(const char *thread, const char *what, long result) {
  printf("%s %s %d\n", thread, what, result < 0 ? errno : 0);
}

static long try_open(const char *folder, const char *name, int flags) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int fd = open(path, flags | O_CLOEXEC, 0600);
  if (fd < 0) return -1;
  close(fd);
  return 0;
}

static void try_all(const char *thread) {
  char *const none[] = {NULL};
  say(thread, "read-own", try_open(own, "file", O_RDONLY));
  say(thread, "make-own", try_open(own, thread, O_WRONLY | O_CREAT));
  say(thread, "read-other", try_open(other, "file", O_RDONLY));
  say(thread, "write-other", try_open(other, "file", O_WRONLY));
  say(thread, "truncate-other", try_open(other, "file", O_RDONLY | O_TRUNC));
  say(thread, "make-other", try_open(other, thread, O_WRONLY | O_CREAT));
  char path[4096];
  snprintf(path, sizeof path, "%s/file", other);
  say(thread, "remove-other", unlink(path));
  say(thread, "exec", execve("/nonexistent", none, none));
  say(thread, "ptrace", ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
  say(thread, "mount", mount("none", own, "tmpfs", 0, NULL));
  say(thread, "namespace", unshare(CLONE_NEWUTS));
  say(thread, "clone3", syscall(435, NULL, 0));
  say(thread, "unix", socket(AF_UNIX, SOCK_STREAM, 0));
  say(thread, "internet", socket(AF_INET, SOCK_STREAM, 0));
  say(thread, "uring", syscall(425, 1, NULL));
}

/* Waits in a system call, as threads do that have nothing to do. */
static void *early(void *name) {
  pthread_barrier_wait(&confined);
  try_all(name);
  return NULL;
}

static void *late(void *name) {
  try_all(name);
  return NULL;
}

static void end(const char *what, int error) {
  fprintf(stderr, "%s: %s\n", what, strerror(error));
  exit(1);
}

int main(int count, char **words) {
  if (count != 3) return 2;
  own = words[1];
  other = words[2];
  char rules[8192];
  int length = snprintf(rules, sizeof rules, "w%s", own) + 1;
  rules[length] = 0;
  pthread_t threads[4];
  static char *const names[] = {"early1", "early2", "early3"};
  pthread_barrier_init(&confined, NULL, 4);
  for (int i = 0; i < 3; i++)
    if (pthread_create(&threads[i], NULL, early, names[i]) != 0) return 1;
  uint32_t done = 0;
  int result = hutch_confine(rules, &done);
  if (result < 0) end("hutch_confine", -result);
  printf("done %u of %u\n", done, hutch_confine_support() & 0xff);
  pthread_barrier_wait(&confined);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  try_all("main");
  if (pthread_create(&threads[3], NULL, late, "late") != 0) return 1;
  pthread_join(threads[3], NULL);
  return 0;
}
