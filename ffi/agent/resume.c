#include "resume.h"

#include "../protocol.h"
#include "agent.h"
#include "exec.h"
#include "log.h"
#include "network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define HOST_MS 10000 /* for another host to come, which knows that it is waited for */
/* Numbers of streams that wait: hosts count from 1 and never come so far. */
#define FIRST_PARKED UINT32_C(0x80000000)

/* Calls `visit` for each stream, which may go. */
static void each_stream(struct agent *agent, void (*visit)(struct agent *, struct stream *)) {
  for (int i = 0; i < STREAM_BUCKETS; i++) {
    for (struct stream *stream = agent->streams.buckets[i], *next; stream != NULL; stream = next) {
      next = stream->next_in_bucket;
      visit(agent, stream);
    }
  }
}

static void leave_queue(struct agent *agent, struct stream *stream) {
  (void)agent;
  stream->ready = false;
}

static bool outlives(const struct exec *exec) {
  return exec != NULL && exec->held[0] != '\0' && exec->started && !exec->dropped && !exec->exit_sent;
}

static void end_unheld(struct agent *agent, struct stream *stream) {
  if (!outlives(stream->exec)) agent_free_stream(agent, stream);
}

/* Gives it a number that the next host won't use. It is in front of its new bucket, or behind what was
 * visited: a second visit does nothing. */
static void park(struct agent *agent, struct stream *stream) {
  if (stream->parked) return;
  uint32_t number = FIRST_PARKED;
  while (stream_find(&agent->streams, number) != NULL) number++;
  struct stream *place = stream_open(&agent->streams, number);
  if (place == NULL) {
    agent_free_stream(agent, stream); /* without memory for a stream, its command can't be kept */
    return;
  }
  place->parked = true;
  place->exec = stream->exec;
  place->exec->stream = place;
  stream->exec = NULL;
  stream_free(&agent->streams, stream);
}

bool resume_connection(struct agent *agent) {
  if (agent->reconnect == NULL) return false;
#ifndef HUTCH_NATIVE
  if (agent->box.ending != ENDING_NO || agent->box.state == BOX_MAKING) return false;
#endif
  log_line("waiting for a host"); /* QEMU's runner looks for this */
  each_stream(agent, leave_queue);
  agent->streams.ready_head = agent->streams.ready_tail = NULL;
  each_stream(agent, end_unheld);
  each_stream(agent, park);
  channel_close(&agent->channel, &agent->loop);
  int fd = agent->reconnect();
  int error = fd < 0 ? fd : channel_open(&agent->channel, &agent->loop, fd);
  if (error < 0) agent_lost(agent, "connect to the host again: %s", strerror(-error));
  agent->host_by_ms = now_ms() + HOST_MS;
  agent_greet(agent);
  return true;
}

int resume_wait_ms(struct agent *agent) {
  if (agent->channel.greeted) agent->host_by_ms = 0; /* it took the hello */
  if (agent->host_by_ms == 0) return -1;
  uint64_t now = now_ms();
  return now >= agent->host_by_ms ? 0 : (int)(agent->host_by_ms - now);
}

static struct stream *parked_with(struct agent *agent, const char *id) {
  for (uint32_t number = FIRST_PARKED; number < FIRST_PARKED + HUTCH_MAX_STREAMS; number++) {
    struct stream *stream = stream_find(&agent->streams, number);
    if (stream != NULL && stream->parked && stream->exec != NULL && strcmp(stream->exec->held, id) == 0) return stream;
  }
  return NULL;
}

int resume_adopt(struct agent *agent, struct stream *stream, const struct request *request, struct failure *failure) {
  struct stream *parked = parked_with(agent, request->held);
  if (parked == NULL) {
    failure_set(failure, FAILURE_NOT_FOUND, 0, "no command %s waits", request->held);
    return -1;
  }
  struct exec *exec = parked->exec;
  parked->exec = NULL;
  stream_ready(&agent->streams, parked); /* it goes in its turn */
  exec_adopt(exec, stream);
  return 0;
}

#ifndef HUTCH_NATIVE

static void end_parked(struct agent *agent, struct stream *stream) {
  (void)agent;
  if (stream->parked && stream->exec != NULL) exec_drop(stream->exec);
}

/* Random numbers that the box's memory was kept with would come again, in each that goes on from it. */
static int reseed(const char *seed) {
  struct {
    struct rand_pool_info head;
    char bytes[REQUEST_MAX_SEED];
  } pool = {.head = {.buf_size = (int)strlen(seed)}};
  memcpy(pool.bytes, seed, strlen(seed));
  pool.head.entropy_count = pool.head.buf_size * 4; /* hexadecimal digits */
  int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int error = ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0 ? -errno : 0;
  close(fd);
  return error;
}

int resume_as(struct agent *agent, const struct request *request, struct failure *failure) {
  const char *what = "reseed its random numbers";
  bool nobody = agent->box.state == BOX_NONE; /* until now: it booted, and was kept */
  int error = nobody || agent->box.state == BOX_READY ? reseed(request->seed) : -EINVAL;
  if (error == 0) {
    what = "set its clock";
    struct timespec now = {.tv_sec = (time_t)(request->clock_ms / 1000), .tv_nsec = (long)(request->clock_ms % 1000) * 1000000};
    if (clock_settime(CLOCK_REALTIME, &now) < 0) error = -errno;
  }
  if (error == 0) {
    what = "set its host name";
    if (sethostname(request->hostname, strlen(request->hostname)) < 0) error = -errno;
  }
  if (error == 0 && request->mac != NULL) {
    what = "set its hardware address";
    error = network_rename(request->mac, !nobody);
  }
  if (error == 0 && nobody) {
    what = "read its disk anew";
    error = box_mount_anew(&agent->box);
  }
  if (error < 0) {
    failure_set(failure, FAILURE_FAILED, -error, "go on as another box: %s: %s", what, strerror(-error));
    return -1;
  }
  each_stream(agent, end_parked);
  return 0;
}

#endif
