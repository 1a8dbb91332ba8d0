/* Connects to a port of the box's own loopback and relays: `connect PORT`. The first byte of its output
 * is 0, or the number of the error that kept it from connecting. Either direction may end before the
 * other one. */
#define _GNU_SOURCE 1
#include "builtin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 64 * 1024 };

/* What is on its way from one side to the other. */
struct way {
  int from, to;
  bool over;
  size_t start, end;
  uint8_t bytes[PIECE];
};

/* A socket, or a negative errno. */
static int dial(int family, uint16_t port) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  const void *address = family == AF_INET ? (const void *)&v4 : &v6;
  int one = 1, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (connect(fd, address, family == AF_INET ? sizeof v4 : sizeof v6) < 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static void end(struct way *way, int socket) {
  way->over = true;
  if (way->to == socket) shutdown(socket, SHUT_WR);
  else close(way->to);
}

/* One step, when the side that is waited for is ready. */
static void step(struct way *way, int socket) {
  if (way->start == way->end) {
    ssize_t got = read(way->from, way->bytes, sizeof way->bytes);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got <= 0) {
      end(way, socket);
      return;
    }
    way->start = 0;
    way->end = (size_t)got;
  }
  ssize_t put = write(way->to, way->bytes + way->start, way->end - way->start);
  if (put > 0) way->start += (size_t)put;
  else if (put < 0 && errno != EINTR && errno != EAGAIN) end(way, socket);
}

static void relay(int socket) {
  static struct way in, out;
  in = (struct way){.from = STDIN_FILENO, .to = socket};
  out = (struct way){.from = socket, .to = STDOUT_FILENO};
  struct way *ways[] = {&in, &out};
  for (int fd = 0; fd < 2; fd++) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
  while (!in.over || !out.over) {
    struct pollfd fds[2];
    for (int i = 0; i < 2; i++) {
      bool full = ways[i]->start < ways[i]->end;
      fds[i] = (struct pollfd){.fd = ways[i]->over ? -1 : full ? ways[i]->to : ways[i]->from, .events = full ? POLLOUT : POLLIN};
    }
    if (poll(fds, 2, -1) < 0) continue;
    for (int i = 0; i < 2; i++) {
      if (!ways[i]->over && fds[i].revents != 0) step(ways[i], socket);
    }
  }
}

int connect_main(int argc, char **argv) {
  long port = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
  signal(SIGPIPE, SIG_IGN);
  int socket = port < 1 || port > 65535 ? -EINVAL : dial(AF_INET, (uint16_t)port);
  if (socket == -ECONNREFUSED) socket = dial(AF_INET6, (uint16_t)port);
  uint8_t word = socket < 0 ? (uint8_t)-socket : 0;
  if (write(STDOUT_FILENO, &word, 1) != 1 || word != 0) return 1;
  relay(socket);
  return 0;
}
