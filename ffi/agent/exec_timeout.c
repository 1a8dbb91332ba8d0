#define _GNU_SOURCE 1
#include "exec_timeout.h"

#include "agent.h"
#include "exec.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

static int wake_in(int fd, uint32_t ms) {
  struct itimerspec time = {.it_value = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}};
  return timerfd_settime(fd, 0, &time, NULL);
}

/* Whether it ended by itself, and only the word of it is still under way. */
static bool has_ended(const struct exec *exec) {
  siginfo_t info = {0};
  return exec->reaped || (waitid(P_PID, (id_t)exec->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0);
}

/* Whether its process has said nothing yet, not even its number: that takes it only a moment. */
static bool is_unborn(const struct exec *exec) {
  int waiting = 0;
  return exec->report.fd >= 0 && ioctl(exec->report.fd, FIONREAD, &waiting) == 0 && waiting == 0;
}

static void on_time(struct watch *watch, uint32_t events) {
  struct exec *exec = container_of(watch, struct exec, timer);
  uint64_t times;
  if (!(events & EPOLLIN) || read(watch->fd, &times, sizeof times) != sizeof times || has_ended(exec)) return;
  if (is_unborn(exec) && wake_in(watch->fd, 1) == 0) return; /* its end could not be told from a failure */
  bool last = exec->timed_out || exec->grace_ms == 0;
  exec->timed_out = true;
  if (!last && wake_in(watch->fd, exec->grace_ms) == 0) {
    exec_signal(exec, SIGTERM);
    exec_signal(exec, SIGCONT); /* stopped ones must wake to end */
    return;
  }
  exec_timeout_stop(exec);
  exec_signal(exec, SIGKILL);
}

int exec_timeout_start(struct exec *exec, uint32_t timeout_ms, uint32_t grace_ms) {
  /* The box's own clock: one that stands still in a pause doesn't use its commands' time up. */
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (fd < 0) return -errno;
  exec->grace_ms = grace_ms;
  int error = wake_in(fd, timeout_ms) < 0 ? -errno : loop_add(&exec->agent->loop, &exec->timer, fd, EPOLLIN, on_time);
  if (error < 0) close(fd);
  return error;
}

void exec_timeout_stop(struct exec *exec) {
  loop_drop(&exec->agent->loop, &exec->timer);
}
