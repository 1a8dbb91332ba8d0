#define _GNU_SOURCE 1
#include "gate.h"

#include "greeting.h"
#include "hooks.h"
#include "intercept.h"
#include "requests.h"
#include "side.h"
#include "stack.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 512, GREETING_MS = 15000 };

struct gated {
  struct side guest, server;
  struct flow_key key; /* as the guest sees it */
  struct address to;   /* where it goes: a hook may have changed it */
  uint16_t to_port;
  unsigned listed;     /* watches that the loop has */
  bool open;           /* what the guest says goes on */
  bool asks;           /* by `requests`, each of which is looked at */
  struct requests requests;
  size_t held;         /* its first bytes, in `server.rest` */
  uint64_t until_ms;   /* for the first bytes to be whole; 0: there are none yet */
  struct gated *next;
};

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

static int dial(const struct address *to, uint16_t port) {
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

static void deny(const struct gated *gated, const struct denial *why) {
  struct denial denial = *why;
  denial.key = &gated->key;
  denial.group = filter_group(filter, &gated->key.remote, now_ms());
  filter_denied(filter, &denial);
}

/* The server's place is taken, and what waits for it gets a line before it. */
static bool intercept(struct gated *gated, bool tls, const char *name) {
  struct side *server = &gated->server;
  if (server->shut) return false; /* it has come and gone before the guest said anything */
  char line[NAME_TEXT + ADDRESS_TEXT + HOOK_WORD + 32];
  if (!intercept_line(&gated->to, gated->to_port, tls, name, line, sizeof line)) {
    deny(gated, &(struct denial){.rule = -1, .name = name, .hook = HOOKS_GONE.permit.hook});
    return false;
  }
  struct side lined = {0};
  bool kept = side_keep(&lined, (const uint8_t *)line, strlen(line)) && side_keep(&lined, server->rest + server->start, server->length);
  int fd = kept ? intercept_dial() : -1;
  if (fd < 0) {
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

/* ---- requests after the first ------------------------------------------------------------------------- */

static bool may_ask(void *context, const char *name) {
  const struct gated *gated = context;
  struct decision decision = filter_decide(filter, &gated->key, name, now_ms());
  if (!decision.allow) deny(gated, &(struct denial){.rule = decision.rule, .name = name});
  return decision.allow;
}

static bool is_fine(const struct gated *gated, enum request_verdict verdict) {
  if (verdict == REQUESTS_BAD) deny(gated, &(struct denial){.rule = filter_decide(filter, &gated->key, "", now_ms()).rule});
  return verdict == REQUESTS_FINE;
}

/* The first bytes are looked at again, with what follows them. */
static bool take_requests(struct gated *gated) {
  struct side first = gated->server;
  gated->asks = true;
  gated->requests = (struct requests){.may = may_ask, .context = gated};
  gated->server.rest = NULL;
  gated->server.start = gated->server.length = 0;
  bool fine = is_fine(gated, requests_take(&gated->requests, first.rest + first.start, first.length, &gated->server));
  free(first.rest);
  return fine;
}

static bool carry_requests(struct gated *gated) {
  static uint8_t piece[64 * 1024];
  ssize_t got = recv(gated->guest.watch.fd, piece, sizeof piece, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) gated->guest.ended = true;
  return is_fine(gated, requests_take(&gated->requests, piece, (size_t)got, &gated->server)) && side_flush(&gated->server);
}

/* The server answers a request for another protocol. */
static bool hear_answer(struct gated *gated) {
  uint8_t begins[16];
  if (!gated->asks || gated->requests.state != REQUEST_ANSWER) return true;
  ssize_t got = recv(gated->server.watch.fd, begins, sizeof begins, MSG_PEEK | MSG_DONTWAIT);
  if (got <= 0) return true; /* what that is, shows next */
  return is_fine(gated, requests_answered(&gated->requests, begins, (size_t)got, &gated->server)) && side_flush(&gated->server);
}

/* ---- looking ------------------------------------------------------------------------------------------ */

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
  struct decision decision = filter_decide(filter, &gated->key, said, now_ms());
  if (!decision.allow) {
    deny(gated, &(struct denial){.rule = decision.rule, .name = greeting == GREETING_NAME ? name : NULL});
    return false;
  }
  gated->open = true;
  bool tls = server->length > 0 && server->rest[server->start] == TLS_HANDSHAKE;
  if (greeting == GREETING_NAME && intercept_wants(filter, &gated->key, tls, name)) return intercept(gated, tls, name);
  if (decision.by_name && greeting == GREETING_NAME && !tls && !take_requests(gated)) return false;
  if (server->watch.fd >= 0 || server->shut) return side_flush(server);
  int fd = dial(&gated->to, gated->to_port);
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
  bool waits = gated->asks && gated->requests.state == REQUEST_ANSWER && gated->requests.length > 0;
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
    whole = gated->asks ? carry_requests(gated) : gated->open ? side_carry(&gated->guest, &gated->server) : listen_to_guest(gated);
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
  if (whole && events & (POLLIN | POLLHUP | POLLERR) && !server->ended) whole = hear_answer(gated) && side_carry(server, &gated->guest);
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
  int server = own && !later ? dial(to, to_port) : -1;
  struct gated *gated = server >= 0 || later ? calloc(1, sizeof *gated) : NULL;
  if (gated == NULL) {
    if (server >= 0) close(server);
    refuse(fd);
    return;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  gated->key = flow->key;
  gated->to = *to;
  gated->to_port = to_port;
  gated->guest = (struct side){.connected = true, .watch = {.fd = fd, .events = POLLIN, .ready = guest_ready, .gone = guest_gone}};
  gated->server.watch.fd = -1;
  gated->listed = 1;
  gated->next = all;
  all = gated;
  loop_add(&gated->guest.watch);
  if (server >= 0) set_server(gated, server);
}

int gate_step(void) {
  uint64_t now = now_ms();
  int64_t wait = -1;
  for (struct gated *gated = all; gated != NULL; gated = gated->next) {
    if (gated->open || gated->until_ms == 0 || gated->guest.watch.fd < 0) continue;
    if (now >= gated->until_ms) {
      deny(gated, &(struct denial){.rule = filter_decide(filter, &gated->key, "", now).rule});
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
