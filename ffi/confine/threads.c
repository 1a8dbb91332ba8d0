#define _GNU_SOURCE 1
#include "threads.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
enum { MOST = 1024, WAIT_MS = 5000 };

/* What the handler works with: it has no other way to know. */
static struct {
  int (*call)(int);
  int argument;
  atomic_int failure;
  atomic_int count;
  atomic_int done[MOST]; /* numbers of the threads that have done it */
} work;

static void do_it(void) {
  int result = work.call(work.argument), none = 0;
  if (result < 0) atomic_compare_exchange_strong(&work.failure, &none, result);
  int at = atomic_fetch_add(&work.count, 1);
  if (at < MOST) atomic_store(&work.done[at], (int)syscall(SYS_gettid));
}

static void on_signal(int number) {
  (void)number;
  int kept = errno;
  do_it();
  errno = kept;
}

static bool is_done(int thread) {
  int count = atomic_load(&work.count);
  for (int i = 0; i < count && i < MOST; i++)
    if (atomic_load(&work.done[i]) == thread) return true;
  return false;
}

/* Sends the signal and waits. 0 too for a thread that has ended. */
static int ask(int thread, int number) {
  const struct timespec pause = {.tv_nsec = 50 * 1000};
  if (syscall(SYS_tgkill, getpid(), thread, number) < 0) return errno == ESRCH ? 0 : -errno;
  for (long tries = 0; tries < WAIT_MS * 20L; tries++) {
    if (is_done(thread)) return 0;
    if (syscall(SYS_tgkill, getpid(), thread, 0) < 0) return 0;
    nanosleep(&pause, NULL);
  }
  return -ETIMEDOUT;
}

/* One look at the list of threads. How many were new, or a negative errno. */
static int round_of(int number) {
  DIR *list = opendir("/proc/self/task");
  if (list == NULL) return -errno;
  int asked = 0, result = 0, self = (int)syscall(SYS_gettid);
  for (struct dirent *entry; result == 0 && (entry = readdir(list)) != NULL;) {
    int thread = atoi(entry->d_name);
    if (thread <= 0 || thread == self || is_done(thread)) continue;
    result = atomic_load(&work.count) >= MOST ? -E2BIG : ask(thread, number);
    asked++;
  }
  closedir(list);
  return result < 0 ? result : asked;
}

int threads_all(int (*call)(int), int argument) {
  int number = SIGRTMAX - 3;
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
  sigfillset(&action.sa_mask);
  memset(&work, 0, sizeof work);
  work.call = call;
  work.argument = argument;
  if (sigaction(number, NULL, &before) < 0) return -errno;
  if (before.sa_handler != SIG_DFL) return -EBUSY;
  if (sigaction(number, &action, NULL) < 0) return -errno;
  /* A thread that began meanwhile may have been started by one that hadn't done it: until there is
   * none. Ours comes last, and starts none. */
  int result;
  do result = round_of(number);
  while (result > 0);
  do_it();
  sigaction(number, &before, NULL);
  int failure = atomic_load(&work.failure);
  return result < 0 ? result : failure;
}
#else
int threads_all(int (*call)(int), int argument) {
  return call(argument);
}
#endif
