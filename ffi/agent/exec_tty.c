#define _GNU_SOURCE 1
#include "exec_tty.h"

#include "agent.h"
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define FLAGS (O_RDWR | O_NOCTTY | O_CLOEXEC)

static int open_agent_side(const struct box *box) {
#ifdef HUTCH_NATIVE
  (void)box;
  int fd = open("/dev/ptmx", FLAGS | O_NONBLOCK);
#else
  /* Through the file system itself: whatever the box made of its /dev doesn't matter. */
  int fd = openat(box->terminals, "ptmx", FLAGS | O_NONBLOCK);
#endif
  return fd < 0 ? -errno : fd;
}

static void set_size(int fd, struct request_size size) {
  struct winsize window = {.ws_row = size.rows, .ws_col = size.columns};
  ioctl(fd, TIOCSWINSZ, &window);
}

int tty_open(const struct box *box, struct request_size size, int *agent, int *command) {
  *command = -1;
  *agent = open_agent_side(box);
  if (*agent < 0) return *agent;
  const int unlocked = 0;
  if (ioctl(*agent, TIOCSPTLCK, &unlocked) == 0) *command = ioctl(*agent, TIOCGPTPEER, FLAGS);
  if (*command < 0) {
    int error = -errno;
    close(*agent);
    *agent = -1;
    return error;
  }
  struct termios settings;
  if (tcgetattr(*command, &settings) == 0) {
    settings.c_iflag |= IUTF8; /* a character is erased whole */
    tcsetattr(*command, TCSANOW, &settings);
  }
  set_size(*command, size);
  return 0;
}

int tty_take(uid_t owner, struct failure *failure) {
  if (ioctl(0, TIOCSCTTY, 0) < 0) {
    failure_set(failure, FAILURE_FAILED, errno, "take the terminal: %s", strerror(errno));
    return -1;
  }
  /* Without privilege (the native build under test) it is one's own already. */
  if (geteuid() != 0 || fchown(0, owner, (gid_t)-1) == 0) return 0;
  failure_set(failure, FAILURE_FAILED, errno, "give the terminal to its user: %s", strerror(errno));
  return -1;
}

void tty_resize(struct exec *exec, struct request_size size) {
  if (exec->out[0].watch.fd >= 0) set_size(exec->out[0].watch.fd, size);
}

int tty_end_input(struct exec *exec, bool at_line_start) {
  struct termios settings;
  /* A program that reads keys has no end of input. */
  if (exec->in.fd < 0 || tcgetattr(exec->in.fd, &settings) < 0 || !(settings.c_lflag & ICANON)) return 0;
  const uint8_t end = settings.c_cc[VEOF], ends[2] = {end, end};
  if (end == _POSIX_VDISABLE) return 0;
  /* After part of a line the first one gives that part to the reader, and the second is the end. */
  return byte_queue_add(&exec->in_queue, ends, at_line_start ? 1 : 2);
}
