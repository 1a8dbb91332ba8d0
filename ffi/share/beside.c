/* Starts a machine's program beside its box process, which takes its time to be ready.
 *
 *   hutch-share beside LIFE OWN [NETWORK] -- PROGRAM [ARG...]
 *
 * Its child waits for an order on descriptor ORDER, a pipe, and becomes what the order says; without one it ends.
 * It dies with PROGRAM, which it is a child of, and has as its descriptors OWN_FD a socket that listens at the path
 * OWN, and TRANSFER_FD a file without a name for the transfer disk (transfer_disk.h). PROGRAM finds in its
 * environment, as HUTCH_BESIDE, the child's process number and three descriptors: what the child says on its
 * standard error, that file, and a socket that listens at the path NETWORK (-1: none).
 *
 * Nothing of this where the file LIFE is locked, since a box process that is just ending has the sockets yet, or
 * where there are no such files.
 *
 * An order: the path of a file that is its standard input, that of a file that it holds locked (empty: none), its
 * environment, and its file's path with its arguments; each text with a zero byte behind it, and an empty one
 * behind each of the two lists. */
#define _GNU_SOURCE 1
#include "share.h"
#include "transfer_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* In the child: the order comes, and then there are the two and the file that it locks. */
enum { ORDER = 3, OWN_FD = 3, TRANSFER_FD, LOCK_FD, KEPT_END };
enum { ORDER_MAX = 256 * 1024, WORDS_MAX = 1024 };
enum { LOCK_MS = 10000 }; /* for who is just ending */

struct order {
  const char *input, *lock;
  char *environment[WORDS_MAX + 1];
  char *words[WORDS_MAX + 1];
};

/* Reads all of it. Its length; 0 when there is none. */
static size_t read_order(char *text, size_t size) {
  size_t length = 0;
  while (length < size) {
    ssize_t got = read(ORDER, text + length, size - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("Cannot read an order: %s", strerror(errno));
    if (got == 0) return length;
    length += (size_t)got;
  }
  fail("Cannot take an order of more than %zu bytes", size);
}

/* The next text, or NULL where it isn't whole. */
static char *next_text(char **at, const char *end) {
  char *text = *at, *zero = memchr(text, '\0', (size_t)(end - text));
  if (zero != NULL) *at = zero + 1;
  return zero == NULL ? NULL : text;
}

static bool next_list(char **at, const char *end, char **list) {
  for (size_t count = 0; count <= WORDS_MAX; count++) {
    char *text = next_text(at, end);
    if (text == NULL) return false;
    list[count] = text[0] == '\0' ? NULL : text;
    if (text[0] == '\0') return true;
  }
  return false;
}

/* False: whoever gave it has died meanwhile. */
static bool parse_order(char *text, size_t length, struct order *order) {
  char *at = text, *end = text + length;
  order->input = next_text(&at, end);
  order->lock = order->input == NULL ? NULL : next_text(&at, end);
  return order->lock != NULL && next_list(&at, end, order->environment) && next_list(&at, end, order->words) &&
         at == end && order->words[0] != NULL;
}

static int lock_file(const char *path) {
  int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) fail("Cannot open %s: %s", path, strerror(errno));
  if (lock_within(fd, LOCK_EX, LOCK_MS)) return fd;
  if (errno == EWOULDBLOCK) fail("Cannot use %s: another program has it", path);
  fail("Cannot lock %s: %s", path, strerror(errno));
}

static void keep_as(int fd, int number) {
  if (dup2(fd, number) < 0) fail("Cannot keep a descriptor: %s", strerror(errno));
}

static _Noreturn void wait_for_order(pid_t parent, int error, int own, int transfer) {
  static char text[ORDER_MAX];
  static struct order order;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent) _exit(1);
  /* The standard input and output are PROGRAM's. */
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) fail("Cannot open /dev/null: %s", strerror(errno));
  keep_as(null, STDIN_FILENO);
  keep_as(null, STDOUT_FILENO);
  keep_as(error, STDERR_FILENO);
  size_t length = read_order(text, sizeof text);
  if (!parse_order(text, length, &order)) _exit(0);
  int input = open(order.input, O_RDONLY | O_CLOEXEC);
  if (input < 0) fail("Cannot open %s: %s", order.input, strerror(errno));
  int lock = order.lock[0] == '\0' ? -1 : lock_file(order.lock);
  keep_as(input, STDIN_FILENO);
  keep_as(own, OWN_FD);
  keep_as(transfer, TRANSFER_FD);
  if (lock >= 0) keep_as(lock, LOCK_FD);
  close_range(lock >= 0 ? KEPT_END : LOCK_FD, UINT_MAX, 0);
  execve(order.words[0], order.words, order.environment);
  fail("Cannot run %s: %s", order.words[0], strerror(errno));
}

/* Out of the way of those numbers. */
static int away(int fd) {
  int kept = fcntl(fd, F_DUPFD_CLOEXEC, KEPT_END);
  if (fd < 0 || kept < 0) fail("Cannot start a program beside: %s", strerror(errno));
  close(fd);
  return kept;
}

static bool is_locked(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool locked = !lock_within(fd, LOCK_SH, 0);
  close(fd);
  return locked;
}

static int make_transfer(void) {
  int fd = memfd_create("transfer", MFD_CLOEXEC);
  return fd < 0 || ftruncate(fd, HUTCH_TRANSFER_BYTES) < 0 ? -1 : away(fd);
}

/* Passes it on to PROGRAM. */
static int passed(int fd) {
  if (fd >= 0) fcntl(fd, F_SETFD, 0);
  return fd;
}

_Noreturn void beside(char **arguments) {
  size_t paths = 0;
  while (arguments[paths] != NULL && strcmp(arguments[paths], "--") != 0) paths++;
  if (paths < 2 || paths > 3 || arguments[paths] == NULL) fail("Cannot start a program beside: it takes two or three paths");
  const char *life = arguments[0], *own_path = arguments[1], *network_path = paths == 3 ? arguments[2] : NULL;
  char **program = arguments + paths + 1;
  int words[2], transfer = is_locked(life) ? -1 : make_transfer();
  if (transfer < 0) {
    close(ORDER);
    become(program);
  }
  int own = away(listen_at(own_path));
  int network = network_path == NULL ? -1 : away(listen_at(network_path));
  if (pipe2(words, O_CLOEXEC) < 0) fail("Cannot start a program beside: %s", strerror(errno));
  int said = away(words[0]), error = away(words[1]);
  pid_t parent = getpid(), child = fork();
  if (child < 0) fail("Cannot start a program beside: %s", strerror(errno));
  if (child == 0) {
    close(network);
    wait_for_order(parent, error, own, transfer);
  }
  char found[64];
  snprintf(found, sizeof found, "%d %d %d %d", (int)child, passed(said), passed(transfer), passed(network));
  if (setenv("HUTCH_BESIDE", found, 1) < 0) fail("Cannot start a program beside: %s", strerror(errno));
  close(ORDER);
  become(program);
}
