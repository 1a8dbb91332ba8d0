#define _GNU_SOURCE 1
/* The first process of the box's PID namespace. From inside nobody can signal it; if it ends, the
 * kernel ends everything in the box. */
#include "view.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* True: there are no children. */
static bool reap(void) {
  pid_t pid;
  do pid = waitpid(-1, NULL, WNOHANG); while (pid > 0);
  return pid < 0 && errno == ECHILD;
}

_Noreturn void holder_serve(int leash) {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_SETMASK, &children, NULL);
  int signals = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
  struct pollfd waits[] = {{.fd = signals, .events = POLLIN}, {.fd = leash, .events = POLLIN}};
  for (;;) {
    /* The leash carries no bytes, only its end. */
    bool alone = reap();
    if (waits[1].fd < 0 && alone) _exit(0);
    if (poll(waits, 2, -1) < 0 && errno != EINTR) _exit(1);
    if (waits[1].revents != 0) waits[1].fd = -1;
    struct signalfd_siginfo ignored[8];
    while (read(signals, ignored, sizeof ignored) > 0) continue;
  }
}
