/* The relay's thread: waits for connections that have something to say, or take what waits for them. */
#define _GNU_SOURCE 1
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Where each stands among those that are waited for; clients come last. */
enum { WAKE, LISTENER, CHANNEL, GUEST, HOLDER, CLIENTS };
/* A listener that can't give a connection, such as for too many open files, is left alone so long. */
enum { ACCEPT_AGAIN_MS = 100 };

uint64_t relay_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A descriptor of a new connection, or a negative errno. */
static int accept_one(int listener) {
#ifdef __linux__
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  return fd < 0 ? -errno : fd;
#else
  int fd = accept(listener, NULL, NULL);
  if (fd < 0) return -errno;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
#endif
}

/* Has the system take a whole frame at once, which by itself it doesn't: the rest would be copied once more,
 * and each part wake both ends. No more than that: what is small and comes later waits behind it. */
static void take_frames(int fd) {
  int bytes = HUTCH_HEADER_SIZE + HUTCH_MAX_PAYLOAD;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

static void accept_client(struct hutch_relay *relay) {
  int fd = accept_one(relay->listener);
  if (fd >= 0) {
    take_frames(fd);
    client_take(relay, fd, false);
  } else if (fd != -EAGAIN && fd != -EINTR && fd != -ECONNABORTED) {
    relay->accept_from = relay_now() + ACCEPT_AGAIN_MS * 1000000ull;
  }
}

static void accept_on_channel(struct hutch_relay *relay) {
  int fd = accept_one(relay->channel);
  if (fd < 0) return;
  take_frames(fd);
  relay->came++;
  if (relay->came == 1) client_take(relay, fd, true);
  else if (relay->came == 2 && !relay->over) relay->holder.wire.fd = fd;
  else if (relay->came == 3 && !relay->over) relay->guest.wire.fd = fd;
  else close(fd);
}

static struct pollfd waiting_for(const struct wire *wire, bool read) {
  short events = (short)((read ? POLLIN : 0) | (wire->waiting > 0 ? POLLOUT : 0));
  /* One that nothing is expected of would only say, for ever, that its other end has gone. */
  return (struct pollfd){.fd = events == 0 ? -1 : wire->fd, .events = events};
}

static bool is_read(const struct hutch_relay *relay, const struct client *client) {
  return !relay->over && relay->goodbye == NULL && client->wire.waiting <= MOST_FOR_READING &&
    relay->guest.wire.waiting <= MOST_FOR_ANSWERER &&
    (client->held == 0 || relay->holder.wire.waiting <= MOST_FOR_ANSWERER);
}

/* How many there are to wait for, and *wait_ms for how long. */
static nfds_t prepare(struct hutch_relay *relay, int *wait_ms) {
  struct pollfd *polled = relay->polled;
  uint64_t now = relay->accept_from > 0 ? relay_now() : 0;
  bool accepts = now >= relay->accept_from;
  if (accepts) relay->accept_from = 0;
  *wait_ms = accepts ? -1 : (int)((relay->accept_from - now) / 1000000u) + 1;
  polled[WAKE] = (struct pollfd){.fd = relay->wake[0], .events = POLLIN};
  polled[LISTENER] = (struct pollfd){.fd = accepts ? relay->listener : -1, .events = POLLIN};
  polled[CHANNEL] = (struct pollfd){.fd = relay->channel, .events = POLLIN};
  polled[GUEST] = waiting_for(&relay->guest.wire, true);
  polled[HOLDER] = waiting_for(&relay->holder.wire, true);
  for (unsigned i = 0; i < relay->count; i++)
    polled[CLIENTS + i] = waiting_for(&relay->clients[i]->wire, is_read(relay, relay->clients[i]));
  return CLIENTS + relay->count;
}

enum { SPEAKS = POLLIN | POLLHUP | POLLERR | POLLNVAL, TAKES = POLLOUT | POLLHUP | POLLERR };

static void serve_answerer(struct hutch_relay *relay, struct answerer *answerer, short events) {
  if (answerer->wire.fd < 0) return; /* it went meanwhile */
  if (events & TAKES) answerer_flush(answerer);
  if (events & SPEAKS) answerer_read(relay, answerer);
}

static void serve_client(struct hutch_relay *relay, struct client *client, short events) {
  if (events & TAKES) client_flush(relay, client);
  /* Asked again, since another may have filled what it feeds. */
  if ((events & SPEAKS) && !client->gone && is_read(relay, client)) client_read(relay, client);
}

static void look_at_wishes(struct hutch_relay *relay) {
  uint8_t bytes[64];
  while (read(relay->wake[0], bytes, sizeof bytes) > 0) continue;
  if (atomic_load(&relay->closing)) relay_end(relay, HUTCH_RELAY_CLOSED, "the relay was closed");
  else if (atomic_load(&relay->parting) && relay->goodbye != NULL)
    relay_end(relay, HUTCH_RELAY_GUEST_CLOSED, "the agent said goodbye");
}

/* Once it is over, connections end that nothing waits for. */
static void end_clients(struct hutch_relay *relay) {
  for (unsigned i = 0; i < relay->count; i++) {
    struct client *client = relay->clients[i];
    if (client->wire.waiting == 0 || atomic_load(&relay->closing)) client_drop(relay, client);
  }
}

/* What took much has ended then, as likely as not. */
static void free_spares(struct hutch_relay *relay) {
  if (!relay->stream_ended || atomic_load(&relay->figures[HUTCH_RELAY_QUEUED]) > 0) return;
  relay->stream_ended = false;
  spares_free(&relay->spares);
}

/* Nobody is to find in it later what commands were given. */
static void empty_transfer(struct hutch_relay *relay) {
  if (relay->guest.count == 0) transfer_empty(&relay->transfer);
}

static void tell_those_who_drain(struct hutch_relay *relay) {
  if (atomic_load(&relay->figures[HUTCH_RELAY_QUEUED]) > 0) return;
  pthread_mutex_lock(&relay->mutex);
  if (relay->draining > 0) pthread_cond_broadcast(&relay->changed);
  pthread_mutex_unlock(&relay->mutex);
}

void *relay_run(void *given) {
  struct hutch_relay *relay = given;
  while (!atomic_load(&relay->closing) || !relay->over) {
    int wait_ms;
    nfds_t count = prepare(relay, &wait_ms);
    if (poll(relay->polled, count, wait_ms) < 0) {
      if (errno == EINTR) continue;
      relay_end(relay, HUTCH_RELAY_GUEST_LOST, "waiting for connections failed"); /* no memory */
      for (unsigned i = 0; i < relay->count; i++) client_drop(relay, relay->clients[i]);
      clients_sweep(relay);
      break;
    }
    const struct pollfd *polled = relay->polled;
    unsigned clients = (unsigned)count - CLIENTS;
    if (polled[WAKE].revents) look_at_wishes(relay);
    serve_answerer(relay, &relay->guest, polled[GUEST].revents);
    serve_answerer(relay, &relay->holder, polled[HOLDER].revents);
    for (unsigned i = 0; i < clients; i++) {
      unsigned at = (relay->turn + i) % clients;
      if (polled[CLIENTS + at].revents) serve_client(relay, relay->clients[at], polled[CLIENTS + at].revents);
    }
    relay->turn++;
    answerers_sweep(relay);
    if (polled[LISTENER].revents) accept_client(relay);
    if (polled[CHANNEL].revents) accept_on_channel(relay);
    if (relay->over) end_clients(relay);
    clients_sweep(relay);
    free_spares(relay);
    empty_transfer(relay);
    tell_those_who_drain(relay);
  }
  return NULL;
}
