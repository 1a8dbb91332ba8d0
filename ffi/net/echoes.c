#define _GNU_SOURCE 1
#include "echoes.h"

#include "loop.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ECHOES_MAX = 64, IDLE_MS = 20000, HEADER = 8, IDENTIFIED = 6 /* what is before its number */ };

struct echo {
  struct watch watch;
  struct packet request;
  uint8_t head[ETHERNET + 40]; /* of the request's frame */
  uint16_t id;                 /* as this machine sends it; the system may choose another */
  uint64_t until_ms;
  struct echo *next;
};

static void (*give)(uint8_t *frame, size_t length);
static struct echo *all;
static unsigned echo_count;

void echoes_init(void (*answer)(uint8_t *frame, size_t length)) {
  give = answer;
}

static void gone(struct watch *watch) {
  struct echo *echo = container_of(watch, struct echo, watch), **at = &all;
  while (*at != echo) at = &(*at)->next;
  *at = echo->next;
  echo_count--;
  free(echo);
}

static void ready(struct watch *watch, short events) {
  static uint8_t body[FRAME_MAX], frame[FRAME_MAX];
  struct echo *echo = container_of(watch, struct echo, watch);
  (void)events;
  ssize_t got = recv(watch->fd, body, sizeof body, MSG_DONTWAIT);
  if (got < 0 && errno != EAGAIN && errno != EINTR) loop_drop(watch); /* nobody is there */
  if (got < HEADER || body[0] != ICMP6_ECHO_REPLY || body[1] != 0) return;
  /* One that takes what isn't its own hears other programs' as well. */
  bool raw = echo->id != 0;
  if (raw && (body[4] != echo->id >> 8 || body[5] != (echo->id & 255))) return;
  size_t made = packet_echo(&echo->request, body + IDENTIFIED, (size_t)got - IDENTIFIED, frame, sizeof frame);
  if (made > 0) give(frame, made);
}

/* A socket that hears one peer's replies alone. `*raw`: others' to it as well. -1: there is none. */
static int dial(const struct address *to, bool *raw) {
  struct sockaddr_storage name;
  struct icmp6_filter replies;
  socklen_t size = address_socket(to, 0, &name);
  int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6);
  *raw = fd < 0;
  if (fd < 0) fd = socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6);
  if (fd < 0) return -1;
  ICMP6_FILTER_SETBLOCKALL(&replies);
  ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &replies);
  if ((*raw && setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &replies, sizeof replies) < 0) || connect(fd, (struct sockaddr *)&name, size) < 0) {
    close(fd);
    return -1;
  }
  return fd;
}

static struct echo *begin(const struct packet *packet) {
  bool raw;
  struct echo *echo = echo_count < ECHOES_MAX ? calloc(1, sizeof *echo) : NULL;
  if (echo == NULL) return NULL;
  int fd = dial(&packet->target, &raw);
  if (fd < 0) {
    free(echo);
    return NULL;
  }
  while (raw && echo->id == 0) {
    if (getrandom(&echo->id, sizeof echo->id, 0) != sizeof echo->id) echo->id = 1;
  }
  memcpy(echo->head, packet->frame, sizeof echo->head);
  echo->request = *packet;
  echo->request.frame = echo->head;
  echo->request.ip = echo->head + ETHERNET;
  echo->watch = (struct watch){.fd = fd, .events = POLLIN, .ready = ready, .gone = gone};
  echo->next = all;
  all = echo;
  echo_count++;
  loop_add(&echo->watch);
  return echo;
}

void echoes_send(const struct packet *packet) {
  static uint8_t body[FRAME_MAX];
  struct echo *echo = all;
  while (echo != NULL && (echo->watch.fd < 0 || echo->request.source_port != packet->source_port || !address_equal(&echo->request.target, &packet->target))) {
    echo = echo->next;
  }
  if (echo == NULL) echo = begin(packet);
  if (echo == NULL) return; /* as on any way, some don't come back */
  memcpy(body, packet->body, packet->body_length);
  if (echo->id != 0) {
    body[4] = (uint8_t)(echo->id >> 8);
    body[5] = (uint8_t)echo->id;
  }
  echo->until_ms = now_ms() + IDLE_MS;
  if (send(echo->watch.fd, body, packet->body_length, MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != EMSGSIZE) loop_drop(&echo->watch);
}

int echoes_step(void) {
  uint64_t now = now_ms();
  int64_t wait = -1;
  for (struct echo *echo = all; echo != NULL; echo = echo->next) {
    if (now >= echo->until_ms) loop_drop(&echo->watch);
    else if (wait < 0 || (int64_t)(echo->until_ms - now) < wait) wait = (int64_t)(echo->until_ms - now);
  }
  return (int)wait;
}
