#define _GNU_SOURCE 1
#include "gate.h"

#include "greeting.h"
#include "side.h"
#include "stack.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HTTPS_PORT = 443, BACKLOG = 512, GREETING_MS = 15000, PORT_TRIES = 16 };

struct gated {
  struct side guest, server;
  struct flow_key key;
  unsigned listed;     /* watches that the loop has */
  bool open;           /* what the guest says goes on */
  size_t held;         /* its first bytes, in `server.rest` */
  uint64_t until_ms;   /* for the first bytes to be whole; 0: there are none yet */
  struct gated *next;
};

static struct filter *filter;
static struct watch doors[2] = {{.fd = -1}, {.fd = -1}};
static struct gated *all;
static struct {
  struct sockaddr_un socket;
  char *names[GATE_NAMES_MAX];
  size_t count;
} interceptor;

static void let_go(struct gated *gated) {
  if (--gated->listed > 0) return;
  struct gated **at = &all;
  while (*at != gated) at = &(*at)->next;
  *at = gated->next;
  free(gated->guest.rest);
  free(gated->server.rest);
  free(gated);
}

static void guest_gone(struct watch *watch) {
  let_go(container_of(watch, struct gated, guest.watch));
}

static void server_gone(struct watch *watch) {
  let_go(container_of(watch, struct gated, server.watch));
}

/* Ends both sides at once, by a reset. */
static void reset(struct gated *gated) {
  side_reset(&gated->guest);
  side_reset(&gated->server);
}

/* ---- peers -------------------------------------------------------------------------------------------- */

static int dial(const struct flow_key *key) {
  struct sockaddr_storage name;
  struct address target = key->remote;
  int kind = !address_is_v4(&target), one = 1;
  if (address_equal(&target, &filter->gateway[kind])) address_parse(kind ? "::1" : "127.0.0.1", &target);
  socklen_t size = address_socket(&target, key->remote_port, &name);
  int fd = socket(name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, (struct sockaddr *)&name, size) == 0 || errno == EINPROGRESS) return fd;
  close(fd);
  return -1;
}

static void server_ready(struct watch *watch, short events);

/* The loop compares the descriptor before it calls, so that it can change within a turn. */
static void set_server(struct gated *gated, int fd) {
  struct watch *watch = &gated->server.watch;
  bool listed = watch->fd >= 0;
  if (listed) close(watch->fd);
  *watch = (struct watch){.fd = fd, .events = POLLOUT, .ready = server_ready, .gone = server_gone, .next = watch->next};
  if (listed) return;
  gated->listed++;
  loop_add(watch);
}

/* ---- the first bytes ---------------------------------------------------------------------------------- */

static bool is_intercepted(const struct gated *gated, bool tls, const char *name) {
  if (!filter->gate_all) return false;
  if (!tls || gated->key.remote_port == HTTPS_PORT) return true;
  for (size_t i = 0; i < interceptor.count; i++) {
    if (name_fits(interceptor.names[i], name)) return true;
  }
  return false;
}

/* The server's place is taken, and what waits for it gets a line before it. */
static bool intercept(struct gated *gated, bool tls, const char *name) {
  struct side *server = &gated->server;
  if (server->shut) return false; /* it has come and gone before the guest said anything */
  char line[NAME_TEXT + ADDRESS_TEXT + 32], address[ADDRESS_TEXT];
  address_format(&gated->key.remote, address);
  int length = snprintf(line, sizeof line, "%s %s %u %s\n", tls ? "tls" : "http", address, gated->key.remote_port, name);
  struct side lined = {0};
  bool kept = side_keep(&lined, (const uint8_t *)line, (size_t)length) && side_keep(&lined, server->rest + server->start, server->length);
  int fd = kept ? socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
  if (fd < 0 || connect(fd, (struct sockaddr *)&interceptor.socket, sizeof interceptor.socket) < 0) {
    if (fd >= 0) close(fd);
    free(lined.rest);
    return false;
  }
  free(server->rest);
  server->rest = lined.rest;
  server->start = 0;
  server->length = lined.length;
  server->connected = false;
  server->ended = false;
  set_server(gated, fd);
  return true;
}

static bool look(struct gated *gated) {
  char name[NAME_TEXT];
  struct side *server = &gated->server;
  enum greeting greeting = greeting_read(server->rest + server->start, server->length, name);
  if (gated->guest.ended && greeting == GREETING_MORE) greeting = server->length > 0 ? GREETING_BAD : GREETING_OTHER;
  if (greeting == GREETING_MORE) {
    if (gated->until_ms == 0) gated->until_ms = now_ms() + GREETING_MS;
    return true;
  }
  const char *said = greeting == GREETING_OTHER ? NULL : greeting == GREETING_BAD ? "" : name;
  uint64_t now = now_ms();
  struct decision decision = filter_decide(filter, &gated->key, said, now);
  if (!decision.allow) {
    enum group group = filter_group(filter, &gated->key.remote, now);
    filter_denied(filter, &gated->key, group, decision.rule, greeting == GREETING_NAME ? name : NULL);
    return false;
  }
  gated->open = true;
  bool tls = server->length > 0 && server->rest[server->start] == TLS_HANDSHAKE;
  if (greeting == GREETING_NAME && is_intercepted(gated, tls, name)) return intercept(gated, tls, name);
  if (server->watch.fd >= 0 || server->shut) return side_flush(server);
  int fd = dial(&gated->key);
  if (fd >= 0) set_server(gated, fd);
  return fd >= 0;
}

/* They wait in the server's rest, where nothing sends them. */
static bool listen_to_guest(struct gated *gated) {
  uint8_t bytes[4096];
  size_t room = GREETING_MAX - gated->server.length;
  ssize_t got = recv(gated->guest.watch.fd, bytes, room < sizeof bytes ? room : sizeof bytes, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) gated->guest.ended = true;
  return side_keep(&gated->server, bytes, (size_t)got) && look(gated);
}

/* ---- turns -------------------------------------------------------------------------------------------- */

static bool finish(struct side *side, const struct side *other) {
  if (!other->ended || side->shut || side->length > 0 || !side->connected) return true;
  side->shut = true;
  return side->watch.fd < 0 || shutdown(side->watch.fd, SHUT_WR) == 0 || errno == ENOTCONN;
}

/* What is waited for next; the end when there is nothing left to wait for. */
static void settle(struct gated *gated) {
  struct side *guest = &gated->guest, *server = &gated->server;
  if (!finish(guest, server) || (gated->open && !finish(server, guest))) {
    reset(gated);
    return;
  }
  if (guest->shut && server->shut) {
    loop_drop(&guest->watch);
    loop_drop(&server->watch);
    return;
  }
  bool hears = !gated->open || server->length == 0;
  guest->watch.events = (short)((!guest->ended && hears ? POLLIN : 0) | (guest->length > 0 ? POLLOUT : 0));
  if (server->watch.fd < 0) return;
  if (!server->connected) server->watch.events = POLLOUT;
  else server->watch.events = (short)((!server->ended && guest->length == 0 ? POLLIN : 0) | (gated->open && server->length > 0 ? POLLOUT : 0));
}

/* One that is gone both ways, and has been heard to its end, would be told of again and again. */
static void leave(struct side *side, short events) {
  if (side->ended && events & POLLHUP) {
    side->shut = true;
    loop_drop(&side->watch);
  }
}

static void guest_ready(struct watch *watch, short events) {
  struct gated *gated = container_of(watch, struct gated, guest.watch);
  bool whole = true;
  if (events & (POLLIN | POLLHUP | POLLERR) && !gated->guest.ended) {
    whole = gated->open ? side_carry(&gated->guest, &gated->server) : listen_to_guest(gated);
  }
  if (whole && events & POLLOUT) whole = side_flush(&gated->guest);
  if (!whole || (gated->guest.ended && events & POLLERR)) {
    reset(gated);
    return;
  }
  leave(&gated->guest, events);
  settle(gated);
}

static void server_ready(struct watch *watch, short events) {
  struct gated *gated = container_of(watch, struct gated, server.watch);
  struct side *server = &gated->server;
  bool whole = true;
  if (!server->connected) {
    int error = 0;
    socklen_t size = sizeof error;
    whole = getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
    server->connected = whole;
    events = POLLOUT;
  }
  if (whole && events & (POLLIN | POLLHUP | POLLERR) && !server->ended) whole = side_carry(server, &gated->guest);
  if (whole && events & POLLOUT && gated->open) whole = side_flush(server);
  if (!whole || (server->ended && events & POLLERR)) {
    reset(gated);
    return;
  }
  leave(server, events);
  settle(gated);
}

/* ---- beginnings --------------------------------------------------------------------------------------- */

static void refuse(int fd) {
  struct linger now = {.l_onoff = 1};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(fd);
}

static void answer_door(struct watch *watch, short events) {
  struct sockaddr_storage name = {0};
  struct address address;
  socklen_t size = sizeof name;
  uint16_t port = 0;
  int one = 1;
  (void)events;
  int fd = accept4(watch->fd, (struct sockaddr *)&name, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  /* Others on this machine can connect as well. */
  const struct flow *flow = address_of_socket((struct sockaddr *)&name, &address, &port) ? stack_origin(port) : NULL;
  bool own = flow != NULL && address_equal(&flow->inner.remote, &filter->gateway[watch == &doors[1]]) &&
             flow->inner.remote_port == filter->gate[watch == &doors[1]];
  /* Who speaks TLS there says first whom it is for; whoever takes its place is dialled then. */
  bool later = own && filter->gate_all && flow->key.remote_port == HTTPS_PORT;
  int server = own && !later ? dial(&flow->key) : -1;
  struct gated *gated = server >= 0 || later ? calloc(1, sizeof *gated) : NULL;
  if (gated == NULL) {
    if (server >= 0) close(server);
    refuse(fd);
    return;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  gated->key = flow->key;
  gated->guest = (struct side){.connected = true, .watch = {.fd = fd, .events = POLLIN, .ready = guest_ready, .gone = guest_gone}};
  gated->server.watch.fd = -1;
  gated->listed = 1;
  gated->next = all;
  all = gated;
  loop_add(&gated->guest.watch);
  if (server >= 0) set_server(gated, server);
}

int gate_intercept(char *const *words, size_t count) {
  for (size_t i = 0; i < interceptor.count; i++) free(interceptor.names[i]);
  interceptor.count = 0;
  filter->gate_all = false;
  if (count == 0) return 0;
  if (count - 1 > GATE_NAMES_MAX || strlen(words[0]) >= sizeof interceptor.socket.sun_path) return -ENAMETOOLONG;
  interceptor.socket = (struct sockaddr_un){.sun_family = AF_UNIX};
  strcpy(interceptor.socket.sun_path, words[0]);
  for (size_t i = 1; i < count; i++) {
    char *name = strdup(words[i]);
    if (name == NULL || !name_pattern(name)) {
      free(name);
      return name == NULL ? -ENOMEM : -EINVAL;
    }
    interceptor.names[interceptor.count++] = name;
  }
  filter->gate_all = true;
  return 0;
}

int gate_step(void) {
  uint64_t now = now_ms();
  int64_t wait = -1;
  for (struct gated *gated = all; gated != NULL; gated = gated->next) {
    if (gated->open || gated->until_ms == 0 || gated->guest.watch.fd < 0) continue;
    if (now >= gated->until_ms) {
      enum group group = filter_group(filter, &gated->key.remote, now);
      filter_denied(filter, &gated->key, group, filter_decide(filter, &gated->key, "", now).rule, NULL);
      reset(gated);
      continue;
    }
    int64_t left = (int64_t)(gated->until_ms - now);
    if (wait < 0 || left < wait) wait = left;
  }
  return (int)wait;
}

static int open_door(const char *loopback, uint16_t *port, struct watch *door) {
  struct address address;
  struct sockaddr_storage name;
  int one = 1;
  address_parse(loopback, &address);
  socklen_t size = address_socket(&address, *port, &name);
  int fd = socket(name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (name.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&name, size) < 0 || listen(fd, BACKLOG) < 0 || getsockname(fd, (struct sockaddr *)&name, &size) < 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  address_of_socket((struct sockaddr *)&name, &address, port);
  *door = (struct watch){.fd = fd, .events = POLLIN, .ready = answer_door};
  loop_add(door);
  return 0;
}

int gate_init(struct filter *own_filter) {
  filter = own_filter;
  int error = open_door("127.0.0.1", &filter->gate[0], &doors[0]);
  if (error < 0) return error;
  /* A machine without IPv6 has nowhere to connect to by it either. */
  if (open_door("::1", &filter->gate[1], &doors[1]) < 0) filter->gate[1] = 0;
  return 0;
}
