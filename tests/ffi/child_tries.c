/* Starts, asks and ends programs, many at once, from several threads. */
#define _GNU_SOURCE 1
#include "child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 8, ROUNDS = 25 };

#define CHECK(what)                                                       \
  do {                                                                    \
    if (!(what)) {                                                        \
      fprintf(stderr, "%s:%d: %s (%d)\n", __FILE__, __LINE__, #what, errno); \
      exit(1);                                                            \
    }                                                                     \
  } while (0)

static int count_files(void) {
  int count = 0;
  DIR *folder = opendir("/proc/self/fd");
  CHECK(folder != NULL);
  while (readdir(folder) != NULL) count++;
  closedir(folder);
  return count;
}

static void round_of(int number) {
  hutch_child *child = NULL;
  char line[64], words[16];
  uint32_t length = sizeof words;
  CHECK(hutch_child_start("/bin/cat\0-\0", "", "/\0\0\0", -1, HUTCH_CHILD_ASKED, &child) == 0);
  int size = snprintf(line, sizeof line, "line %d\n", number);
  char answer[64];
  CHECK(hutch_child_ask(child, line, (uint64_t)size, answer, sizeof answer) == size - 1);
  CHECK(memcmp(answer, line, (size_t)size - 1) == 0);
  CHECK(hutch_child_ask(child, "much\nmore\n", 10, answer, 4) == 4);
  CHECK(hutch_child_ask(child, "", 0, answer, 3) == -EMSGSIZE);
  hutch_child_signal(child, SIGKILL);
  CHECK(hutch_child_wait(child, words, &length) == -SIGKILL);
  CHECK(length == 0);
  hutch_child_signal(child, SIGKILL);
  hutch_child_free(child);
}

static void *rounds(void *none) {
  for (int n = 0; n < ROUNDS; n++) round_of(n);
  return none;
}

/* Its descriptor 3: what it is told by, or one of ours, which we have no more. */
static void try_third(void) {
  hutch_child *child;
  char words[16];
  uint32_t length = sizeof words;
  int ends[2];
  CHECK(hutch_child_start("/bin/sh\0-c\0cat <&3 >&2\0", "", "\0\0\0", -1, HUTCH_CHILD_TOLD, &child) == 0);
  CHECK(hutch_child_tell_third(child, "told", 4) == 0);
  CHECK(hutch_child_tell_third(child, "again", 5) == -EPIPE);
  CHECK(hutch_child_wait(child, words, &length) == 0 && length == 4 && memcmp(words, "told", 4) == 0);
  hutch_child_free(child);
  length = sizeof words;
  CHECK(pipe(ends) == 0 && write(ends[1], "given", 5) == 5);
  close(ends[1]);
  CHECK(hutch_child_start("/bin/sh\0-c\0cat <&3 >&2\0", "", "\0\0\0", ends[0], 0, &child) == 0);
  CHECK(hutch_child_wait(child, words, &length) == 0 && length == 5 && memcmp(words, "given", 5) == 0);
  hutch_child_free(child);
  CHECK(hutch_child_start("/bin/true\0", "", "\0\0\0", -1, 0, &child) == 0);
  CHECK(hutch_child_tell_third(child, "nobody", 6) == -EPIPE);
  length = sizeof words;
  CHECK(hutch_child_wait(child, words, &length) == 0);
  hutch_child_free(child);
}

/* What hutch-share leaves is taken once, and waited for like any other. */
static void try_beside(void) {
  struct hutch_beside beside;
  char text[64], words[16];
  uint32_t length = sizeof words;
  int said[2], transfer = dup(0);
  CHECK(hutch_child_beside(&beside) == -ENOENT);
  CHECK(pipe(said) == 0 && transfer >= 0);
  pid_t pid = fork();
  if (pid == 0) _exit(write(said[1], "words", 5) == 5 ? 6 : 1);
  close(said[1]);
  snprintf(text, sizeof text, "%d %d %d -1", (int)pid, said[0], transfer);
  CHECK(setenv("HUTCH_BESIDE", text, 1) == 0);
  CHECK(hutch_child_beside(&beside) == 0);
  CHECK(beside.transfer == transfer && beside.network == -1);
  CHECK(fcntl(transfer, F_GETFD) == FD_CLOEXEC && fcntl(said[0], F_GETFD) == FD_CLOEXEC);
  close(transfer);
  CHECK(hutch_child_wait(beside.child, words, &length) == 6 && length == 5 && memcmp(words, "words", 5) == 0);
  hutch_child_free(beside.child);
  CHECK(hutch_child_beside(&beside) == -ENOENT);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  signal(SIGPIPE, SIG_IGN);
  char locked[4096] = "\0\0"; /* no folder, input and error */
  snprintf(locked + 3, sizeof locked - 3, "%s", arguments[1]);
  round_of(0);
  int files = count_files();
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, rounds, NULL) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);

  hutch_child *one = NULL, *two = NULL;
  char words[16];
  uint32_t length = sizeof words;
  CHECK(hutch_child_start("/bin/cat\0", "", locked, -1, HUTCH_CHILD_ASKED, &one) == 0);
  CHECK(hutch_child_start("/bin/true\0", "", locked, -1, 0, &two) == -EWOULDBLOCK);
  hutch_child_signal(one, SIGKILL);
  CHECK(hutch_child_wait(one, words, &length) == -SIGKILL);
  hutch_child_free(one);
  length = sizeof words;
  CHECK(hutch_child_start("/bin/sh\0-c\0seq 100 >&2; exit 9\0", "", locked, -1, 0, &two) == 0);
  CHECK(hutch_child_wait(two, words, &length) == 9);
  CHECK(length == sizeof words);
  CHECK(memcmp(words + sizeof words - 7, "99\n100\n", 7) == 0);
  hutch_child_free(two);
  CHECK(hutch_child_start("/nothing\0", "", "\0\0\0", -1, HUTCH_CHILD_ASKED, &one) == -ENOENT);
  CHECK(hutch_child_start("/bin/true\0", "", "\0/nothing\0\0", -1, 0, &one) == -ENOENT);
  try_third();
  try_beside();
  CHECK(count_files() == files);
  return 0;
}
