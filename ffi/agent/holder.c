#define _GNU_SOURCE 1
/* The first process of the box's PID namespace. From inside nobody can signal it; if it ends, the
 * kernel ends everything in the box. */
#include "../protocol.h"
#include "exec_child.h"
#include "log.h"
#include "request.h"
#include "view.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* True: there are no children. */
static bool reap(void) {
  pid_t pid;
  do pid = waitpid(-1, NULL, WNOHANG); while (pid > 0);
  return pid < 0 && errno == ECHILD;
}

/* What it was spared from, its children need not be. */
static void like_any_other(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "0", 1) != 1) log_line("set the first process's score: %s", strerror(errno));
  if (fd >= 0) close(fd);
}

/* Runs the command of an order in this very process. The order is the agent's own word, checked when
 * it came. Returns only if there is none: the leash ended. */
static void take_order(int leash) {
  static uint8_t payload[HUTCH_MAX_MESSAGE];
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(4 * sizeof(int))];
  } control;
  struct iovec part = {.iov_base = payload, .iov_len = sizeof payload};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
  ssize_t length = recvmsg(leash, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  struct cmsghdr *rights = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
  if (rights == NULL || rights->cmsg_type != SCM_RIGHTS || rights->cmsg_len != CMSG_LEN(4 * sizeof(int))) return;
  int files[4];
  memcpy(files, CMSG_DATA(rights), sizeof files);
  struct request request;
  const char *why;
  if (request_parse(payload, (size_t)length, &request, &why) < 0) _exit(127);
  like_any_other();
  struct child_plan plan = {
    .argv = request.argv, .env = request.env, .env_count = request.env_count,
    .cwd = request.cwd, .user = request.user,
    .in = files[0], .out = files[1], .error = files[2], .report = files[3],
    .limits = request.limits, .limit_count = request.limit_count,
    .caps = request.caps, .no_new_privileges = request.no_new_privileges, .private_fd = -1,
  };
  exec_child(&plan);
}

_Noreturn void holder_serve(int leash) {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_SETMASK, &children, NULL);
  int signals = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
  struct pollfd waits[] = {{.fd = signals, .events = POLLIN}, {.fd = leash, .events = POLLIN}};
  for (;;) {
    bool alone = reap();
    if (waits[1].fd < 0 && alone) _exit(0);
    if (poll(waits, 2, -1) < 0 && errno != EINTR) _exit(1);
    /* An order is a message; anything else is the leash's end. */
    if (waits[1].revents & POLLIN) take_order(leash);
    if (waits[1].revents != 0) waits[1].fd = -1;
    struct signalfd_siginfo ignored[8];
    while (read(signals, ignored, sizeof ignored) > 0) continue;
  }
}
