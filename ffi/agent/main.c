/* hutch-agent: PID 1 of a box's guest. `hutch-agent --connect PATH [NEXT]` exists in the native build
 * only, for tests: it serves commands where it runs, over a unix socket, and goes on at NEXT when that
 * ends. */
#include "../transfer_disk.h"
#include "agent.h"
#include "boot.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The one global: too large for a stack, and there is exactly one agent in a process. */
static struct agent the_agent;

uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#ifdef HUTCH_NATIVE

static int connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return -errno;
  return fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : fd;
}

static const char *next_path;

static int connect_to_next(void) {
  the_agent.reconnect = NULL;
  return connect_to(next_path);
}

int main(int count, char **arguments) {
  if (count < 3 || count > 4 || strcmp(arguments[1], "--connect") != 0) {
    log_line("usage: hutch-agent --connect PATH [NEXT]");
    return 2;
  }
  transfer_open(&the_agent.transfer, getenv(HUTCH_TRANSFER_VARIABLE));
  int fd = connect_to(arguments[2]);
  int error = fd < 0 ? fd : agent_open(&the_agent, fd);
  if (error < 0) {
    log_line("cannot serve %s: %s", arguments[2], strerror(-error));
    return 1;
  }
  next_path = arguments[3];
  if (next_path != NULL) the_agent.reconnect = connect_to_next;
  agent_serve(&the_agent);
  agent_close(&the_agent);
  return 0;
}

#else

/* On the kernel's command line, which hands it on: for a guest whose memory is kept before it is anybody's,
 * and which has no box's disk yet. */
#define TO_BE_KEPT "HUTCH_KEPT"

int main(void) {
  if (getpid() != 1) {
    log_line("this program is the first process of a hutch box; it does nothing elsewhere");
    return 2;
  }
  the_agent.channel.watch.fd = -1;
  box_init(&the_agent.box);
  boot_early();
  int fd = boot_channel();
  if (fd < 0) agent_lost(&the_agent, "find the channel: %s", strerror(-fd));
  transfer_open(&the_agent.transfer, getenv(HUTCH_TRANSFER_VARIABLE));
  int error = agent_open(&the_agent, fd);
  if (error < 0) agent_lost(&the_agent, "serve the channel: %s", strerror(-error));
  if (getenv(TO_BE_KEPT) == NULL) box_mount(&the_agent.box);
  boot_late();
  the_agent.reconnect = boot_channel;
  agent_serve(&the_agent);
  log_line("the host closed the channel");
  guest_end(&the_agent);
}

#endif
