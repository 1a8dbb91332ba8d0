#define _GNU_SOURCE 1
#include "exec_child.h"

#include "box.h"
#include "builtin.h"
#include "exec_tty.h"
#include "program.h"
#include "user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SOFT_FILES 1024 /* what programs that loop over descriptors or use select() expect */

static void send(const struct child_plan *plan, const struct child_report *report) {
  /* Smaller than PIPE_BUF: whole or not at all. */
  ssize_t put = write(plan->report, report, sizeof *report);
  (void)put;
}

static _Noreturn void give_up(const struct child_plan *plan, const struct failure *failure) {
  struct child_report report = {.pid = getpid(), .failure = *failure};
  send(plan, &report);
  _exit(127);
}

#define GIVE_UP(plan, kind, error, ...)                   \
  do {                                                    \
    struct failure failure_;                              \
    failure_set(&failure_, (kind), (error), __VA_ARGS__); \
    give_up((plan), &failure_);                           \
  } while (0)

static void reset_signals(void) {
  /* Not by the C library, which keeps two numbers to itself. All zeros is the kernel's default. */
  const struct { unsigned long words[4]; } by_default = {{0}};
  for (int number = 1; number < NSIG; number++) syscall(SYS_rt_sigaction, number, &by_default, NULL, (size_t)8);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The four may have any numbers above 2, since the agent has 0 to 2 open. All others are closed at
 * once: what follows may take long, and must not keep another command's pipes open. */
static void set_files(struct child_plan *plan) {
  if (dup2(plan->in, 0) < 0 || dup2(plan->out, 1) < 0 || dup2(plan->error, 2) < 0 ||
      (plan->report != 3 && dup3(plan->report, 3, O_CLOEXEC) < 0)) {
    GIVE_UP(plan, FAILURE_FAILED, errno, "set standard input and output: %s", strerror(errno));
  }
  plan->report = 3;
  close_range(4, UINT_MAX, 0);
}

static void set_limits(const struct child_plan *plan) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) < 0) return;
  files.rlim_cur = files.rlim_max < SOFT_FILES ? files.rlim_max : SOFT_FILES;
  setrlimit(RLIMIT_NOFILE, &files);
  struct failure failure;
  if (exec_limits_set(plan->limits, plan->limit_count, &failure) < 0) give_up(plan, &failure);
}

static void take_capabilities(const struct child_plan *plan, const struct user *user) {
  struct failure failure;
  if (plan->caps.set && exec_caps_take(&plan->caps, user->uid == 0, &failure) < 0) give_up(plan, &failure);
  if (plan->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
    GIVE_UP(plan, FAILURE_LIMIT_REFUSED, errno, "refuse new privileges: %s", strerror(errno));
  }
}

/* What only root may do before it is somebody else. */
static void bound_capabilities(const struct child_plan *plan, const struct user *user) {
  struct failure failure;
  if (!plan->caps.set) return;
  if (exec_caps_bound(&plan->caps, &failure) < 0) give_up(plan, &failure);
  if (plan->caps.give == 0 || user->uid == 0) return;
  if (exec_caps_hold(&failure) < 0) give_up(plan, &failure);
}

static void become(const struct child_plan *plan, const struct user *user) {
  /* Without privilege (the native build under test) only oneself can be become. */
  if (geteuid() != 0 && user->uid == geteuid() && (user->gid == getegid() || user->gid == 0)) return;
  if (setgroups(user->group_count, user->groups) < 0 || setresgid(user->gid, user->gid, user->gid) < 0 ||
      setresuid(user->uid, user->uid, user->uid) < 0) {
    GIVE_UP(plan, FAILURE_FAILED, errno, "become user %s: %s", plan->user, strerror(errno));
  }
}

/* As root first, so that a working folder below a private home works for everybody; then, where
 * root may not enter it (FUSE), as the user. True: done. */
static bool enter_folder(const struct child_plan *plan, bool as_root) {
  if (chdir(plan->cwd) == 0) return true;
  if (as_root && errno == EACCES) return false;
  GIVE_UP(plan, FAILURE_BAD_CWD, errno, "enter folder %s: %s", plan->cwd, strerror(errno));
}

static void set_home(struct child_plan *plan, const struct user *user) {
  for (char **entry = plan->env; *entry != NULL; entry++) {
    if (strncmp(*entry, "HOME=", 5) == 0) return;
  }
  char *home;
  if (asprintf(&home, "HOME=%s", user->home) < 0) return;
  plan->env[plan->env_count] = home;
}

_Noreturn void exec_child(struct child_plan *plan) {
  /* From here on the box's root may trace this process: what must stay the agent's goes first. */
  if (plan->private_fd >= 0) close(plan->private_fd);
  struct child_report report = {.pid = getpid(), .failure = {.kind = FAILURE_NONE}};
  send(plan, &report);
  struct failure failure;
  static struct user user; /* large; this process has no other use for its memory */
  setsid();
  umask(022);
#ifndef HUTCH_NATIVE
  if (plan->box != NULL && box_enter(plan->box, &failure) < 0) give_up(plan, &failure);
#endif
  set_files(plan);
  if (user_lookup(plan->user, "/etc/passwd", "/etc/group", &user, &failure) < 0) give_up(plan, &failure);
  if (plan->tty && tty_take(user.uid, &failure) < 0) give_up(plan, &failure);
  bool entered = enter_folder(plan, true);
  set_home(plan, &user);
  set_limits(plan); /* last of what takes memory and files of its own */
  bound_capabilities(plan, &user);
  become(plan, &user);
  take_capabilities(plan, &user);
  if (!entered) enter_folder(plan, false);
  reset_signals();
  if (plan->builtin != NULL) {
    close(plan->report); /* its end is the word that it runs */
    builtin_run(plan->builtin, plan->argv, plan->ring);
  }
  program_run(plan->argv, plan->env, &failure);
  give_up(plan, &failure);
}
