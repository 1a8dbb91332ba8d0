/* The network of one box: between the machine's network device and this machine's sockets.
 *
 *   hutch-net DEVICE CONTROL MAC
 *     Listens at the unix sockets DEVICE, to which the engine connects the device, and CONTROL. Takes
 *     orders on standard input as well (control.h), and ends with it. MAC is the device's address. A DEVICE "-" is
 *     descriptor 3, which listens already.
 *
 * Frames come from the device (wire.c), are looked at (filter.c, packet.c, flows.c, policy.c) and go to
 * libslirp (stack.c), whose answers take the same way back. dns.c answers questions for names, and
 * remembers what it answered (names.c) for rules that have names; gate.c looks whom connections are for.
 * hooks.c asks programs, held.c keeps frames meanwhile, and events.c tells programs what happens. */
#define _GNU_SOURCE 1
#include "control.h"
#include "dns.h"
#include "echoes.h"
#include "events.h"
#include "filter.h"
#include "gate.h"
#include "held.h"
#include "hooks.h"
#include "jail.h"
#include "ports.h"
#include "stack.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/ether.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTENING_FD = 3 };

static struct filter filter;
static struct wire wire = {.watch = {.fd = -1}};
static struct watch door = {.fd = -1};
static bool connected;

static _Noreturn void give_up(const char *what, int error) {
  fprintf(stderr, "Cannot %s: %s\n", what, strerror(error < 0 ? -error : error));
  exit(1);
}

static void on_frame(struct wire *from, uint8_t *frame, size_t length) {
  (void)from;
#ifdef HUTCH_NET_UNFILTERED /* for the benchmark: what the filter costs */
  stack_input(frame, length);
  return;
#endif
  switch (filter_guest(&filter, frame, length, now_ms())) {
    case FILTER_PASS: stack_input(frame, filter.packet.length); break;
    case FILTER_REPLY: wire_send(&wire, filter.reply, filter.reply_length); break;
    case FILTER_DNS: dns_ask(&filter.packet); break;
    case FILTER_ECHO: echoes_send(&filter.packet); break;
    case FILTER_ASK: held_ask(frame, filter.packet.length); break;
    case FILTER_DROP: break;
  }
}

static void on_echo(uint8_t *frame, size_t length) {
  if (filter_host(&filter, frame, length, now_ms()) == FILTER_PASS) wire_send(&wire, frame, length);
}

static void look_again(uint8_t *frame, size_t length) {
  on_frame(&wire, frame, length);
}

static void on_door(struct watch *watch, short events) {
  (void)events;
  int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  int error = wire_init(&wire, fd, on_frame);
  if (error < 0) give_up("take over the machine's network device", error);
  connected = true;
  loop_drop(watch);
}

static int listen_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) give_up("listen for the machine's network device", ENAMETOOLONG);
  strcpy(address.sun_path, path);
  unlink(path);
  umask(0077);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) {
    give_up("listen for the machine's network device", errno);
  }
  return fd;
}

static void open_door(const char *path) {
  bool listens = strcmp(path, "-") == 0;
  int fd = listens ? LISTENING_FD : listen_at(path);
  if (listens && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) give_up("listen for the machine's network device", errno);
  door = (struct watch){.fd = fd, .events = POLLIN, .ready = on_door};
  loop_add(&door);
}

/* Each of the guest's connections is a socket here. */
static void allow_sockets(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static int shorter(int a, int b) {
  return a < 0 || (b >= 0 && b < a) ? b : a;
}

int main(int count, char **arguments) {
  uint64_t seed;
  struct ether_addr mac;
  if (count != 4 || ether_aton_r(arguments[3], &mac) == NULL) {
    fputs("usage: hutch-net DEVICE CONTROL MAC\n", stderr);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  allow_sockets();
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) give_up("draw a random number", errno);
  int error = address_read_own(now_ms());
  if (error < 0) give_up("read this machine's addresses", error);
  filter_init(&filter, mac.ether_addr_octet, seed);
  events_init(&filter);
  held_init(&filter, look_again);
  echoes_init(on_echo);
  if (stack_init(&filter, &wire) < 0) give_up("make a network stack", ENOMEM);
  error = dns_init(&filter, &wire);
  if (error < 0) give_up("listen for questions to the name server", error);
  error = gate_init(&filter);
  if (error < 0) give_up("listen for connections by name", error);
  open_door(arguments[1]);
  error = control_init(&filter, &wire, arguments[2]);
  if (error < 0) give_up("listen for orders", error);
  error = jail_enter();
  if (error < 0) give_up("give up what isn't needed", error);
  for (;;) {
    if (connected && wire.watch.fd < 0) return 0; /* the machine has ended */
    int wait = shorter(connected ? wire_step(&wire) : -1, shorter(dns_step(), gate_step()));
    wait = shorter(wait, shorter(hooks_step(), flows_step(&filter.flows, now_ms())));
    stack_turn(shorter(wait, echoes_step()));
  }
}
