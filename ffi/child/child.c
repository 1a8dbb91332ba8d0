#define _GNU_SOURCE 1
#include "child_own.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/close_range.h>
#include <sys/prctl.h>
#endif

/* What a new process works with. It has its parent's memory until it is the program. */
struct plan {
  char **words, **environment;
  const char *folder;
  bool parted;
  int files[HUTCH_CHILD_THIRD + 1];
  int lock;
  pid_t parent;
  int failure;
};

static void close_end(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

/* Ends with NULL; NULL where there is no memory, or nothing in it. */
static char **list_of(const char *texts) {
  size_t count = 0;
  for (const char *at = texts; *at != '\0'; at += strlen(at) + 1) count++;
  char **list = count == 0 ? NULL : calloc(count + 1, sizeof *list);
  if (list == NULL) return NULL;
  size_t n = 0;
  for (const char *at = texts; *at != '\0'; at += strlen(at) + 1) list[n++] = (char *)(uintptr_t)at;
  return list;
}

static int lock_file(const char *path) {
  int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return -errno;
  int result;
  do result = flock(fd, LOCK_EX | LOCK_NB);
  while (result < 0 && errno == EINTR);
  /* It keeps its number in the program, and may be in nobody's way there. */
  int kept = result == 0 ? fcntl(fd, F_DUPFD_CLOEXEC, HUTCH_CHILD_THIRD + 1) : -1;
  int error = errno;
  close(fd);
  return kept < 0 ? -error : kept;
}

static void forget_signals(void) {
  const struct sigaction by_default = {.sa_handler = SIG_DFL};
  for (int number = 1; number < NSIG; number++) sigaction(number, &by_default, NULL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Files, folder and the like. 0 or an errno. */
static int set_up(const struct plan *plan) {
  for (int fd = 0; fd < 3; fd++)
    if (dup2(plan->files[fd], fd) < 0) return errno;
#ifdef __linux__
  close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC); /* what a library has opened without */
  if (!plan->parted && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return errno;
  if (!plan->parted && getppid() != plan->parent) return ECHILD; /* it was too late for that */
#endif
  if (plan->parted && setsid() < 0) return errno;
  int third = plan->files[HUTCH_CHILD_THIRD];
  if (third >= 0 && dup2(third, HUTCH_CHILD_THIRD) < 0) return errno;
  if (third == HUTCH_CHILD_THIRD && fcntl(third, F_SETFD, 0) < 0) return errno;
  if (plan->lock >= 0 && fcntl(plan->lock, F_SETFD, 0) < 0) return errno;
  return plan->folder[0] != '\0' && chdir(plan->folder) < 0 ? errno : 0;
}

static _Noreturn void become(struct plan *plan) {
  plan->failure = set_up(plan);
  if (plan->failure != 0) _exit(127);
  forget_signals();
  execve(plan->words[0], plan->words, plan->environment);
  plan->failure = errno;
  _exit(127);
}

/* The number of the new process, or a negative errno; that of execve, too. */
static pid_t spawn(struct plan *plan) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler may run in our memory by the child */
  plan->parent = getpid();
  pid_t pid = vfork();
  if (pid == 0) become(plan);
  int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (pid < 0) return -error;
  if (plan->failure == 0) return pid;
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
  return -plan->failure;
}

static int end_of(pid_t pid) {
#ifdef SYS_pidfd_open
  return (int)syscall(SYS_pidfd_open, pid, 0);
#else
  (void)pid;
  return -1;
#endif
}

static int make_pipe(int ends[2]) {
#ifdef __linux__
  return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
#else
  if (pipe(ends) < 0) return -errno;
  for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFD, FD_CLOEXEC);
  return 0;
#endif
}

/* One of its three files: the end of a pipe, whose other end is `*ours`, or a file; `path` is one for both. */
static int make_file(struct plan *plan, int number, const char *path, int *ours) {
  int ends[2];
  if (path != NULL) {
    plan->files[number] = open(path, (number == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC) | O_CLOEXEC, 0600);
    return plan->files[number] < 0 ? -errno : 0;
  }
  int error = make_pipe(ends);
  if (error < 0) return error;
  plan->files[number] = ends[number != 0];
  *ours = ends[number == 0];
  return 0;
}

static int make_told(struct plan *plan, int *ours) {
  int ends[2];
  int error = make_pipe(ends);
  if (error < 0) return error;
  plan->files[HUTCH_CHILD_THIRD] = ends[0];
  *ours = ends[1];
  return 0;
}

void hutch_child_fill(hutch_child *child, pid_t pid, const int ours[HUTCH_CHILD_THIRD + 1]) {
  child->pid = pid;
  child->ended = end_of(pid);
  child->in = ours[0];
  child->out = ours[1];
  child->error = ours[2];
  child->third = ours[HUTCH_CHILD_THIRD];
  pthread_mutex_init(&child->lock, NULL);
}

int32_t hutch_child_start(const char *words, const char *environment, const char *paths, int32_t third, uint32_t how,
                          hutch_child **made) {
  const char *null = "/dev/null", *path[HUTCH_CHILD_PATHS];
  for (int i = 0; i < HUTCH_CHILD_PATHS; i++, paths += strlen(paths) + 1) path[i] = paths;
  const char *folder = path[0], *input = path[1], *error = path[2], *lock = path[3];
  bool asked = (how & HUTCH_CHILD_ASKED) != 0;
  if (environment[0] == '\0') environment = "PATH=/usr/sbin:/usr/bin:/sbin:/bin\0";
  struct plan plan = {.words = list_of(words), .environment = list_of(environment), .folder = folder,
                      .parted = (how & HUTCH_CHILD_PARTED) != 0, .files = {-1, -1, -1, third}, .lock = -1};
  int ours[HUTCH_CHILD_THIRD + 1] = {-1, -1, -1, -1};
  hutch_child *child = calloc(1, sizeof *child);
  int result = plan.words != NULL && plan.environment != NULL && child != NULL ? 0 : -ENOMEM;
  if (result == 0 && lock[0] != '\0' && (plan.lock = lock_file(lock)) < 0) result = plan.lock;
  const char *in = input[0] != '\0' ? input : asked ? NULL : null;
  if (result == 0) result = make_file(&plan, 0, in, &ours[0]);
  if (result == 0) result = make_file(&plan, 1, asked ? NULL : null, &ours[1]);
  if (result == 0) result = make_file(&plan, 2, error[0] != '\0' ? error : NULL, &ours[2]);
  if (result == 0 && (how & HUTCH_CHILD_TOLD) != 0) result = make_told(&plan, &ours[HUTCH_CHILD_THIRD]);
  pid_t pid = result == 0 ? spawn(&plan) : result;
  for (int i = 0; i <= HUTCH_CHILD_THIRD; i++) close_end(&plan.files[i]);
  close_end(&plan.lock);
  free(plan.words);
  free(plan.environment);
  if (pid < 0) {
    for (int i = 0; i <= HUTCH_CHILD_THIRD; i++) close_end(&ours[i]);
    free(child);
    return (int32_t)pid;
  }
  hutch_child_fill(child, pid, ours);
  *made = child;
  return 0;
}

int32_t hutch_child_pid(const hutch_child *child) {
  return child->pid;
}

int32_t hutch_child_has_ended(const hutch_child *child) {
  siginfo_t end = {.si_pid = 0};
  return waitid(P_PID, (id_t)child->pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid != 0;
}

/* ---- questions ------------------------------------------------------------------------------ */

static int write_all(int fd, const char *bytes, uint64_t length) {
  while (length > 0) {
    ssize_t put = write(fd, bytes, length);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return -errno;
    bytes += put;
    length -= (uint64_t)put;
  }
  return 0;
}

/* Puts what was read up to a line's end behind what the line has already. True: that was its end. */
static bool take_line(hutch_child *child, char *line, uint64_t size, uint64_t *length) {
  const char *end = memchr(child->buffer, '\n', child->rest);
  size_t part = end == NULL ? child->rest : (size_t)(end - child->buffer);
  size_t room = size - *length < part ? size - *length : part;
  memcpy(line + *length, child->buffer, room);
  *length += part; /* more than `size`: it is too long */
  size_t used = end == NULL ? part : part + 1;
  child->rest -= used;
  memmove(child->buffer, child->buffer + used, child->rest);
  return end != NULL;
}

int64_t hutch_child_ask(hutch_child *child, const char *bytes, uint64_t length, char *line, uint64_t size) {
  int error = write_all(child->in, bytes, length);
  if (error < 0) return error;
  uint64_t got = 0;
  while (!take_line(child, line, size, &got)) {
    if (got > size) return -EMSGSIZE;
    ssize_t count = read(child->out, child->buffer, sizeof child->buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? -errno : -EPIPE;
    child->rest = (size_t)count;
  }
  return got > size ? -EMSGSIZE : (int64_t)got;
}

static int tell_last(int *fd, const char *bytes, uint64_t length) {
  int error = *fd < 0 ? -EPIPE : write_all(*fd, bytes, length);
  close_end(fd);
  return error;
}

int32_t hutch_child_tell_last(hutch_child *child, const char *bytes, uint64_t length) {
  return tell_last(&child->in, bytes, length);
}

int32_t hutch_child_tell_third(hutch_child *child, const char *bytes, uint64_t length) {
  return tell_last(&child->third, bytes, length);
}

/* ---- the end -------------------------------------------------------------------------------- */

/* Keeps the last `size` bytes of what is read. What `read` answered: 0 at the end. */
static ssize_t keep_words(int fd, char *words, uint32_t size, uint32_t *kept) {
  char piece[HUTCH_CHILD_PIECE];
  ssize_t count = read(fd, piece, sizeof piece);
  if (count <= 0) return count < 0 && errno == EINTR ? 1 : count;
  uint32_t part = (uint32_t)count < size ? (uint32_t)count : size;
  uint32_t before = *kept < size - part ? *kept : size - part;
  memmove(words, words + *kept - before, before);
  memcpy(words + before, piece + count - part, part);
  *kept = before + part;
  return count;
}

/* Until it has ended: what it has started may have its standard error for longer. */
static void hear(const hutch_child *child, char *words, uint32_t size, uint32_t *kept) {
  struct pollfd of[] = {{.fd = child->error, .events = POLLIN}, {.fd = child->ended, .events = POLLIN}};
  for (bool over = false; !over;) {
    if (poll(of, 2, -1) < 0) continue; /* a signal */
    over = of[1].revents != 0 && (of[0].revents & POLLIN) == 0;
    if (of[0].revents != 0 && keep_words(child->error, words, size, kept) <= 0) over = true;
  }
}

int32_t hutch_child_wait(hutch_child *child, char *words, uint32_t *length) {
  siginfo_t end;
  int status = 0;
  uint32_t kept = 0;
  if (child->error >= 0) hear(child, words, *length, &kept);
  *length = kept;
  while (waitid(P_PID, (id_t)child->pid, &end, WEXITED | WNOWAIT) < 0 && errno == EINTR) continue;
  pthread_mutex_lock(&child->lock);
  while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR) continue;
  child->waited = true;
  pthread_mutex_unlock(&child->lock);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void hutch_child_signal(hutch_child *child, int32_t number) {
  pthread_mutex_lock(&child->lock);
  if (!child->waited) kill(child->pid, number);
  pthread_mutex_unlock(&child->lock);
}

void hutch_child_free(hutch_child *child) {
  close_end(&child->in);
  close_end(&child->out);
  close_end(&child->error);
  close_end(&child->third);
  close_end(&child->ended);
  pthread_mutex_destroy(&child->lock);
  free(child);
}
