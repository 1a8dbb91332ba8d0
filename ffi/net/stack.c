#define _GNU_SOURCE 1
#include "stack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  BACKLOG = 512,    /* connections that may wait to be taken; libslirp asks for one */
  PORT_TRIES = 16,
  RAW_FRAME = FRAME_MAX + 64,
  REFUSALS_MAX = 128,
};

static Slirp *slirp;
static struct filter *filter;
static struct wire *wire;
static struct pollfd *fds;
static unsigned count, room;
static int last_fd = -1; /* the newest socket */

/* Answers to the stack's own frames, which it can't take while it sends; what doesn't fit, it asks again. */
static struct {
  size_t length;
  uint8_t frame[REPLY_MAX];
} refusals[REFUSALS_MAX];
static unsigned refusal_count;
static uint16_t flow_of_port[65536]; /* of diverted flows by their sockets' ports, counted from 1 */

/* ---- what libslirp calls ------------------------------------------------------------------------ */

static ssize_t send_packet(const void *frame, size_t length, void *opaque) {
  static uint8_t copy[RAW_FRAME];
  (void)opaque;
  if (length > sizeof copy) return (ssize_t)length;
#ifdef HUTCH_NET_UNFILTERED
  wire_send(wire, frame, length);
  return (ssize_t)length;
#endif
  memcpy(copy, frame, length); /* it may be changed on its way */
  enum verdict verdict = filter_host(filter, copy, length, now_ms());
  if (verdict == FILTER_PASS) wire_send(wire, copy, length);
  if (verdict == FILTER_REPLY && refusal_count < REFUSALS_MAX) {
    refusals[refusal_count].length = filter->reply_length;
    memcpy(refusals[refusal_count++].frame, filter->reply, filter->reply_length);
  }
  return (ssize_t)length;
}

static void guest_error(const char *message, void *opaque) {
  (void)message, (void)opaque; /* a guest can cause any number of them */
}

static int64_t clock_ns(void *opaque) {
  struct timespec now;
  (void)opaque;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Its only timer is for router advertisements, which the guest doesn't get. */
static void *timer_new(SlirpTimerCb callback, void *context, void *opaque) {
  static char timer;
  (void)callback, (void)context, (void)opaque;
  return &timer;
}

static void timer_free(void *timer, void *opaque) {
  (void)timer, (void)opaque;
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque) {
  (void)timer, (void)expire_ms, (void)opaque;
}

static void register_fd(int fd, void *opaque) {
  (void)opaque;
  last_fd = fd;
}

static void unregister_fd(int fd, void *opaque) {
  (void)opaque;
  if (last_fd == fd) last_fd = -1;
}

static void notify(void *opaque) {
  (void)opaque;
}

static const SlirpCb CALLBACKS = {
  .send_packet = send_packet,
  .guest_error = guest_error,
  .clock_get_ns = clock_ns,
  .timer_new = timer_new,
  .timer_free = timer_free,
  .timer_mod = timer_mod,
  .register_poll_fd = register_fd,
  .unregister_poll_fd = unregister_fd,
  .notify = notify,
};

/* ---- frames and sockets --------------------------------------------------------------------------- */

int stack_init(struct filter *own_filter, struct wire *own_wire) {
  filter = own_filter;
  wire = own_wire;
  SlirpConfig config = {
    .version = 3,
    .in_enabled = true,
    .in6_enabled = true,
    .vprefix_len = NET_V6_BITS,
    .if_mtu = STACK_MTU,
    .if_mru = STACK_MTU,
    .disable_dns = true,
  };
  inet_pton(AF_INET, NET_V4, &config.vnetwork);
  config.vnetmask.s_addr = htonl(UINT32_MAX << (32 - NET_V4_BITS));
  inet_pton(AF_INET, GATEWAY_V4, &config.vhost);
  inet_pton(AF_INET, GUEST_V4, &config.vdhcp_start);
  inet_pton(AF_INET, DNS_V4, &config.vnameserver);
  inet_pton(AF_INET6, NET_V6, &config.vprefix_addr6);
  inet_pton(AF_INET6, GATEWAY_V6, &config.vhost6);
  inet_pton(AF_INET6, DNS_V6, &config.vnameserver6);
  slirp = slirp_new(&config, &CALLBACKS, NULL);
  return slirp == NULL ? -1 : 0;
}

static uint16_t local_port(int fd) {
  struct sockaddr_storage name = {0};
  struct address address;
  socklen_t size = sizeof name;
  uint16_t port;
  if (fd < 0 || getsockname(fd, (struct sockaddr *)&name, &size) < 0) return 0;
  return address_of_socket((struct sockaddr *)&name, &address, &port) ? port : 0;
}

void stack_input(const uint8_t *frame, size_t length) {
  last_fd = -1;
  slirp_input(slirp, frame, (int)length);
  /* It connects at once, which gives the socket its port. */
  struct flow *begun = filter->begun;
  if (begun == NULL || begun->local_port != 0) return;
  begun->local_port = local_port(last_fd);
  flow_of_port[begun->local_port] = (uint16_t)(begun - filter->flows.list + 1);
}

const struct flow *stack_origin(uint16_t port) {
  if (port == 0 || flow_of_port[port] == 0) return NULL;
  const struct flow *flow = &filter->flows.list[flow_of_port[port] - 1];
  return flow->used && flow->diverted && flow->local_port == port ? flow : NULL;
}

static void give_refusals(void) {
  unsigned given = refusal_count;
  refusal_count = 0; /* what they cause has its own */
  for (unsigned i = 0; i < given; i++) {
    uint8_t frame[REPLY_MAX];
    size_t length = refusals[i].length;
    memcpy(frame, refusals[i].frame, length);
    slirp_input(slirp, frame, (int)length);
  }
}

static int add_poll(int fd, int events, void *opaque) {
  (void)opaque;
  if (count == room) {
    room = room * 2 + 64;
    fds = realloc(fds, room * sizeof *fds);
    if (fds == NULL) {
      fputs("hutch-net: no memory\n", stderr);
      exit(1);
    }
  }
  short wanted = 0;
  if (events & SLIRP_POLL_IN) wanted |= POLLIN;
  if (events & SLIRP_POLL_OUT) wanted |= POLLOUT;
  if (events & SLIRP_POLL_PRI) wanted |= POLLPRI;
  fds[count] = (struct pollfd){.fd = fd, .events = wanted};
  return (int)count++;
}

static int get_revents(int index, void *opaque) {
  (void)opaque;
  if (index < 0 || (unsigned)index >= count) return 0;
  short got = fds[index].revents;
  return (got & POLLIN ? SLIRP_POLL_IN : 0) | (got & POLLOUT ? SLIRP_POLL_OUT : 0) | (got & POLLPRI ? SLIRP_POLL_PRI : 0) |
         (got & (POLLERR | POLLNVAL) ? SLIRP_POLL_ERR : 0) | (got & POLLHUP ? SLIRP_POLL_HUP : 0);
}

void stack_turn(int timeout_ms) {
  uint32_t most = UINT32_MAX;
  /* A guest that doesn't take what it has makes the stack wait, and that its peers. */
  bool working = wire_has_room(wire);
  count = 0;
  slirp_pollfds_fill(slirp, &most, add_poll, NULL);
  if (most < INT32_MAX && (timeout_ms < 0 || (int)most < timeout_ms)) timeout_ms = (int)most;
  unsigned polled = working ? count : 0;
  loop_turn(fds, polled, timeout_ms);
  for (unsigned i = polled; i < count; i++) fds[i].revents = 0;
  slirp_pollfds_poll(slirp, 0, get_revents, NULL);
  give_refusals();
}

unsigned stack_sockets(void) {
  return count;
}

/* ---- published ports ------------------------------------------------------------------------------ */

/* A socket that has the port, or a negative errno. Where two may have the same port as long as none
 * listens (TCP), it keeps the number until libslirp has it. */
static int reserve(uint8_t protocol, const struct address *address, uint16_t *port) {
  struct sockaddr_storage name;
  socklen_t size = address_socket(address, *port, &name);
  int one = 1, fd = socket(name.ss_family, (protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (name.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  if (protocol == IPPROTO_TCP) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&name, size) < 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  *port = local_port(fd);
  return fd;
}

/* libslirp lets one connection wait, so that others would come a second later. */
static void lengthen_queue(uint16_t port) {
  uint32_t most = UINT32_MAX;
  count = 0;
  slirp_pollfds_fill(slirp, &most, add_poll, NULL);
  for (unsigned i = 0; i < count; i++) {
    int listens = 0;
    socklen_t size = sizeof listens;
    if (getsockopt(fds[i].fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens && local_port(fds[i].fd) == port) {
      listen(fds[i].fd, BACKLOG);
    }
  }
  count = 0;
}

static int flags_of(uint8_t protocol, const struct address *address) {
  return (protocol == IPPROTO_UDP ? SLIRP_HOSTFWD_UDP : 0) | (address_is_v4(address) ? 0 : SLIRP_HOSTFWD_V6ONLY);
}

int stack_publish(uint8_t protocol, const struct address *address, uint16_t *port, uint16_t guest_port) {
  const struct address *guest = &filter->guest[!address_is_v4(address)];
  struct sockaddr_storage from, to;
  int error = -EADDRINUSE;
  for (int i = 0; i < (*port == 0 ? PORT_TRIES : 1); i++) {
    uint16_t chosen = *port;
    int fd = reserve(protocol, address, &chosen);
    if (fd < 0) return fd;
    if (protocol == IPPROTO_UDP) close(fd);
    socklen_t from_size = address_socket(address, chosen, &from), to_size = address_socket(guest, guest_port, &to);
    errno = 0;
    int added = slirp_add_hostxfwd(slirp, (struct sockaddr *)&from, from_size, (struct sockaddr *)&to, to_size, flags_of(protocol, address));
    error = added == 0 ? 0 : errno != 0 ? -errno : -EADDRINUSE;
    /* Whoever else took part in the port mustn't have been quicker: TCP allows two, until one listens. */
    if (protocol == IPPROTO_TCP) close(fd);
    if (added != 0) continue;
    if (protocol == IPPROTO_TCP) lengthen_queue(chosen);
    *port = chosen;
    return 0;
  }
  return error;
}

int stack_unpublish(uint8_t protocol, const struct address *address, uint16_t port) {
  struct sockaddr_storage from;
  socklen_t size = address_socket(address, port, &from);
  return slirp_remove_hostxfwd(slirp, (struct sockaddr *)&from, size, flags_of(protocol, address)) < 0 ? -ENOENT : 0;
}
