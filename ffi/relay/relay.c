/* The relay as its box process calls it. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 256 * 1024, BACKLOG = 128 };

static int set_flags(int fd) {
  return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* A socket that listens, or a negative errno. One that is there already is of a box process that died. */
static int listen_on(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  memcpy(address.sun_path, path, strlen(path));
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return -errno;
  int result = set_flags(fd);
  unlink(path);
  if (result == 0 && bind(fd, (struct sockaddr *)&address, sizeof address) < 0) result = -errno;
  if (result == 0 && listen(fd, BACKLOG) < 0) result = -errno;
  if (result == 0) return fd;
  close(fd);
  return result;
}

static int start_thread(struct hutch_relay *relay) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  int error = pthread_create(&relay->thread, &attributes, relay_run, relay);
  pthread_attr_destroy(&attributes);
  return -error;
}

static void free_streams(struct hutch_relay *relay, struct answerer *answerer) {
  wire_close(&answerer->wire);
  for (unsigned number = 1; number <= HUTCH_MAX_STREAMS; number++)
    if (answerer->streams[number] != NULL) stream_remove(&relay->table, answerer->streams[number], 0);
}

/* What the thread doesn't have any more. */
static void free_relay(struct hutch_relay *relay) {
  for (unsigned i = 0; i < relay->count; i++) client_drop(relay, relay->clients[i]);
  clients_sweep(relay);
  free_streams(relay, &relay->guest);
  free_streams(relay, &relay->holder);
  spares_free(&relay->spares);
  transfer_close(&relay->transfer);
  const int fds[] = {relay->listener, relay->channel, relay->wake[0], relay->wake[1]};
  for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
    if (fds[i] >= 0) close(fds[i]);
  free(relay->hello);
  free(relay->goodbye);
  pthread_cond_destroy(&relay->changed);
  pthread_mutex_destroy(&relay->mutex);
  free(relay);
}

static int open_all(struct hutch_relay *relay, const char *clients, const char *channel) {
  if (pipe(relay->wake) < 0) return -errno;
  int result = set_flags(relay->wake[0]);
  if (result == 0) result = set_flags(relay->wake[1]);
  if (result < 0) return result;
  relay->listener = listen_on(clients);
  if (relay->listener < 0) return relay->listener;
  relay->channel = listen_on(channel);
  if (relay->channel < 0) return relay->channel;
  return start_thread(relay);
}

int hutch_relay_open(const char *clients, const char *channel, int32_t transfer, struct hutch_relay **made) {
  struct hutch_relay *relay = calloc(1, sizeof *relay);
  if (relay == NULL) return -ENOMEM;
  relay->listener = relay->channel = relay->wake[0] = relay->wake[1] = -1;
  relay->guest.wire = relay->holder.wire = (struct wire){.fd = -1, .spares = &relay->spares};
  pthread_mutex_init(&relay->mutex, NULL);
  pthread_cond_init(&relay->changed, NULL);
  transfer_open(&relay->transfer, transfer);
  int result = open_all(relay, clients, channel);
  if (result < 0) free_relay(relay);
  else *made = relay;
  return result;
}

int hutch_relay_transfer(const struct hutch_relay *relay) {
  return relay->transfer.fd;
}

void hutch_relay_state(struct hutch_relay *relay, uint64_t *figures) {
  for (int i = 0; i < HUTCH_RELAY_FIGURES; i++) figures[i] = atomic_load(&relay->figures[i]);
  figures[HUTCH_RELAY_NOW] = relay_now();
}

int hutch_relay_ended(struct hutch_relay *relay, char *text, uint32_t size) {
  pthread_mutex_lock(&relay->mutex);
  int why = (int)relay->why;
  if (why != 0) snprintf(text, size, "%s", relay->problem);
  pthread_mutex_unlock(&relay->mutex);
  return why;
}

static void wake(struct hutch_relay *relay) {
  /* A full pipe wakes it as well. */
  if (write(relay->wake[1], "", 1) < 0) return;
}

void hutch_relay_part(struct hutch_relay *relay) {
  atomic_store(&relay->parting, true);
  wake(relay);
}

void hutch_relay_drain(struct hutch_relay *relay, uint32_t limit_ms) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += limit_ms / 1000;
  until.tv_nsec += (long)(limit_ms % 1000) * 1000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  pthread_mutex_lock(&relay->mutex);
  relay->draining++;
  int late = 0;
  while (late != ETIMEDOUT && !atomic_load(&relay->closing) && atomic_load(&relay->figures[HUTCH_RELAY_QUEUED]) > 0)
    late = pthread_cond_timedwait(&relay->changed, &relay->mutex, &until);
  relay->draining--;
  pthread_cond_broadcast(&relay->changed);
  pthread_mutex_unlock(&relay->mutex);
}

void hutch_relay_close(struct hutch_relay *relay) {
  atomic_store(&relay->closing, true);
  wake(relay);
  pthread_join(relay->thread, NULL);
  pthread_mutex_lock(&relay->mutex);
  pthread_cond_broadcast(&relay->changed);
  while (relay->draining > 0) pthread_cond_wait(&relay->changed, &relay->mutex);
  pthread_mutex_unlock(&relay->mutex);
  free_relay(relay);
}
