/* Freezes the box's file systems: `freeze LIMIT HOLD`, both in ms. The first byte of its output is 0
 * once they stand still, else the number of the error; it took LIMIT at most. They go on when the
 * standard input ends, this process does, or HOLD is over.
 *
 * A process of its own, in another session, sees to that: it survives whoever kills this one, and
 * what it does last is to thaw. Another one makes the calls that freeze: in them the kernel waits for
 * writers and disks as long as these take, and lets nobody interrupt that. What stands still by then
 * must not wait, too. */
#define _GNU_SOURCE 1
#include "builtin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

#define MAX_MOUNTS 64
#define MOUNTS "/proc/self/mountinfo"

/* Both processes have it. */
struct frozen {
  int fds[MAX_MOUNTS]; /* roots of mounted disks; the box's own first */
  dev_t devices[MAX_MOUNTS];
  int count;
  atomic_int done; /* of them, from the end: these are frozen */
  atomic_bool over; /* nobody wants it: the one who finds that and something frozen thaws it, or both do */
};

/* ---- which file systems ----------------------------------------------------------------------- */

/* A path as the kernel writes it: spaces and such as \ooo. */
static void unescape(char *path) {
  char *to = path;
  for (const char *from = path; *from != '\0'; to++) {
    if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' && from[3] >= '0' &&
        from[3] <= '7') {
      *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
      from += 4;
    } else {
      *to = *from++;
    }
  }
  *to = '\0';
}

/* Whether a line is of a disk's file system that can be frozen; its path in *path. */
static bool is_disk(char *line, char **path) {
  char *fields[6] = {NULL}, *rest = strstr(line, " - "), *save = NULL;
  if (rest == NULL) return false;
  *rest = '\0';
  rest += 3;
  for (int i = 0; i < 6; i++) {
    fields[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
    if (fields[i] == NULL) return false;
  }
  const char *type = strtok_r(rest, " ", &save);
  if (type == NULL || (strcmp(type, "ext4") != 0 && strcmp(type, "xfs") != 0 && strcmp(type, "btrfs") != 0)) return false;
  *path = fields[4];
  unescape(*path);
  return strncmp(fields[5], "ro", 2) != 0 || strcmp(*path, "/") == 0;
}

/* Unless it is a part of one that is there already. */
static void add(struct frozen *frozen, const char *path) {
  struct stat status;
  if (frozen->count == MAX_MOUNTS) return;
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
  bool known = fd < 0 || fstat(fd, &status) < 0;
  for (int i = 0; i < frozen->count && !known; i++) known = frozen->devices[i] == status.st_dev;
  if (known) {
    if (fd >= 0) close(fd);
    return;
  }
  frozen->devices[frozen->count] = status.st_dev;
  frozen->fds[frozen->count++] = fd;
}

/* Whatever else is mounted: its own disk is the box's root. */
static int find(struct frozen *frozen) {
  add(frozen, "/");
  if (frozen->count == 0) return -errno;
  FILE *mounts = fopen(MOUNTS, "re");
  if (mounts == NULL) return 0;
  char *line = NULL, *path;
  size_t size = 0;
  while (getline(&line, &size, mounts) > 0) {
    if (is_disk(line, &path) && strcmp(path, "/") != 0) add(frozen, path);
  }
  free(line);
  fclose(mounts);
  return 0;
}

/* ---- standing still --------------------------------------------------------------------------- */

static int thaw(struct frozen *frozen) {
  int error = 0;
  for (int i = frozen->count - frozen->done; i < frozen->count; i++) {
    if (frozen->fds[i] >= 0 && ioctl(frozen->fds[i], FITHAW, 0) < 0) error = -errno;
  }
  return error;
}

/* From the last to the first: what is mounted in another one stands still before it. */
static int freeze(struct frozen *frozen) {
  int error = 0;
  for (int i = frozen->count - 1; i >= 0 && error == 0 && !frozen->over; i--) {
    if (ioctl(frozen->fds[i], FIFREEZE, 0) == 0) {
      frozen->done++;
    } else if (i > 0 && (errno == EBUSY || errno == EOPNOTSUPP)) {
      /* The same disk mounted twice; or one that somebody else froze, or can't be: not the box's own. */
      frozen->fds[i] = -1;
      frozen->done++;
    } else {
      error = -errno;
    }
  }
  if (error == 0 && frozen->over) error = -ETIMEDOUT;
  if (error < 0) thaw(frozen);
  return error;
}

/* Whether the other end says or ends something before that. */
static bool wait_for(int fd, int ms) {
  struct pollfd ready = {.fd = fd, .events = POLLIN};
  struct timespec from, now;
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (int left = ms; left > 0;) {
    int result = poll(&ready, 1, left);
    if (result > 0) return true;
    if (result == 0) return false;
    clock_gettime(CLOCK_MONOTONIC, &now);
    left = ms - (int)((now.tv_sec - from.tv_sec) * 1000 + (now.tv_nsec - from.tv_nsec) / 1000000);
  }
  return false;
}

static volatile sig_atomic_t asked_to_end;

static void on_term(int signal) {
  (void)signal;
  asked_to_end = 1;
}

static bool hold(int other, int ms) {
  /* The input is the agent's, and ends sooner where a guest goes on from memory that was kept meanwhile. */
  struct pollfd ready[] = {{.fd = other, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
  struct timespec from, now;
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (int left = ms; left > 0 && !asked_to_end;) {
    int result = poll(ready, 2, left < 100 ? left : 100);
    if (result > 0) return true;
    clock_gettime(CLOCK_MONOTONIC, &now);
    left = ms - (int)((now.tv_sec - from.tv_sec) * 1000 + (now.tv_nsec - from.tv_nsec) / 1000000);
  }
  return false;
}

static int32_t hear(int fd) {
  int32_t word;
  return recv(fd, &word, sizeof word, 0) == sizeof word ? word : EIO;
}

/* Has another process freeze, as long as the other end waits for it. Gives 0 or the number of the error. */
static int32_t have_frozen(struct frozen *frozen, int other) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return errno;
  pid_t pid = fork();
  if (pid < 0) return errno;
  if (pid == 0) {
    close(other);
    close(ends[0]);
    int32_t word = -freeze(frozen);
    send(ends[1], &word, sizeof word, MSG_NOSIGNAL);
    _exit(0);
  }
  close(ends[1]);
  struct pollfd either[2] = {{.fd = ends[0], .events = POLLIN}, {.fd = other, .events = POLLIN}};
  while (!asked_to_end && poll(either, 2, 100) <= 0) continue;
  return either[0].revents != 0 ? hear(ends[0]) : ETIMEDOUT;
}

/* Its end takes the kernel a while, and is in the way of whoever goes on from memory that was kept meanwhile. */
static void give_way(void) {
  setpriority(PRIO_PROCESS, 0, 19);
}

/* The process that thaws; `other` ends with the one that asked. Says twice how it went. */
static _Noreturn void keep(int other, int hold_ms) {
  struct sigaction action = {.sa_handler = on_term};
  setsid();
  signal(SIGPIPE, SIG_IGN);
  sigaction(SIGTERM, &action, NULL);
  struct frozen *frozen = mmap(NULL, sizeof *frozen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (frozen == MAP_FAILED) _exit(1);
  int32_t word = -find(frozen);
  if (word == 0) word = have_frozen(frozen, other);
  if (send(other, &word, sizeof word, MSG_NOSIGNAL) != sizeof word && word == 0) word = EPIPE;
  if (word != 0) {
    frozen->over = true;
    thaw(frozen);
    _exit(1);
  }
  bool in_time = hold(other, hold_ms);
  int error = thaw(frozen);
  word = !in_time ? ETIME : -error;
  send(other, &word, sizeof word, MSG_NOSIGNAL);
  give_way();
  _exit(0);
}

/* ---- the side that is asked -------------------------------------------------------------------- */

static int say(int32_t word) {
  uint8_t byte = word < 0 || word > 255 ? EIO : (uint8_t)word;
  return write(STDOUT_FILENO, &byte, 1) == 1 ? 0 : -1;
}

int freeze_main(int argc, char **argv) {
#ifdef HUTCH_NATIVE
  return say(EPERM), 1; /* these would be the file systems of the machine that the tests run on */
#endif
  int ends[2];
  int limit_ms = argc == 3 ? atoi(argv[1]) : 0, hold_ms = argc == 3 ? atoi(argv[2]) : 0;
  if (limit_ms <= 0 || hold_ms <= 0) return 2;
  signal(SIGPIPE, SIG_IGN);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return say(errno), 1;
  pid_t pid = fork();
  if (pid < 0) return say(errno), 1;
  if (pid == 0) {
    close(ends[0]);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    keep(ends[1], hold_ms);
  }
  close(ends[1]);
  /* When it takes too long, the end of this process is what the other one finds: it thaws at once. */
  int32_t word = wait_for(ends[0], limit_ms) ? hear(ends[0]) : ETIMEDOUT;
  if (say(word) < 0 || word != 0) return 1;
  give_way();
  struct pollfd either[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = ends[0], .events = POLLIN}};
  while (poll(either, 2, -1) < 0 && errno == EINTR) continue;
  shutdown(ends[0], SHUT_WR);
  return hear(ends[0]) == 0 ? 0 : 1;
}
