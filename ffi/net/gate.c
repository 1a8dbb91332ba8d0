#define _GNU_SOURCE 1
#include "gate.h"

#include "gated.h"
#include "intercept.h"
#include "look.h"
#include "stack.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 512 };

static struct filter *filter;
static struct watch doors[2] = {{.fd = -1}, {.fd = -1}};
static struct gated *all;

static void let_go(struct gated *gated) {
  if (--gated->listed > 0) return;
  struct gated **at = &all;
  while (*at != gated) at = &(*at)->next;
  *at = gated->next;
  free(gated->guest.rest);
  free(gated->server.rest);
  requests_free(&gated->requests);
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

int gate_dial(const struct address *to, uint16_t port) {
  struct sockaddr_storage name;
  struct address target = *to;
  int kind = !address_is_v4(&target), one = 1;
  if (address_equal(&target, &filter->gateway[kind])) address_parse(kind ? "::1" : "127.0.0.1", &target);
  socklen_t size = address_socket(&target, port, &name);
  int fd = socket(name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, (struct sockaddr *)&name, size) == 0 || errno == EINPROGRESS) return fd;
  close(fd);
  return -1;
}

static void server_ready(struct watch *watch, short events);

/* The loop compares the descriptor before it calls, so that it can change within a turn. */
void gate_set_server(struct gated *gated, int fd) {
  struct watch *watch = &gated->server.watch;
  bool listed = watch->fd >= 0;
  if (listed) close(watch->fd);
  *watch = (struct watch){.fd = fd, .events = POLLOUT, .ready = server_ready, .gone = server_gone, .next = watch->next};
  if (listed) return;
  gated->listed++;
  loop_add(watch);
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
  bool waits = look_answers(gated) && gated->requests.length > 0;
  bool hears = (!gated->open || server->length == 0) && !waits;
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
    if (gated->asks) whole = look_requests(gated);
    else whole = gated->open ? side_carry(&gated->guest, &gated->server) : look_first(gated);
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
  if (whole && events & (POLLIN | POLLHUP | POLLERR) && !server->ended) {
    whole = look_answers(gated) ? look_answer(gated) : side_carry(server, &gated->guest);
  }
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
  const struct address *to = own && flow->to_port == 0 ? &flow->key.remote : own ? &flow->to : NULL;
  uint16_t to_port = own && flow->to_port == 0 ? flow->key.remote_port : own ? flow->to_port : 0;
  int server = own && !later ? gate_dial(to, to_port) : -1;
  struct gated *gated = server >= 0 || later ? calloc(1, sizeof *gated) : NULL;
  if (gated == NULL) {
    if (server >= 0) close(server);
    refuse(fd);
    return;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  gated->filter = filter;
  gated->key = flow->key;
  gated->to = *to;
  gated->to_port = to_port;
  gated->guest = (struct side){.connected = true, .watch = {.fd = fd, .events = POLLIN, .ready = guest_ready, .gone = guest_gone}};
  gated->server.watch.fd = -1;
  gated->listed = 1;
  gated->next = all;
  all = gated;
  loop_add(&gated->guest.watch);
  if (server >= 0) gate_set_server(gated, server);
}

int gate_step(void) {
  uint64_t now = now_ms();
  int64_t wait = -1;
  for (struct gated *gated = all; gated != NULL; gated = gated->next) {
    if (gated->open || gated->until_ms == 0 || gated->guest.watch.fd < 0) continue;
    if (now >= gated->until_ms) {
      look_denied(gated);
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
