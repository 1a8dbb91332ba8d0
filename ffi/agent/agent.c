#include "agent.h"

#include "dispatch.h"
#include "exec.h"
#include "log.h"
#include "resume.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECEIVE_BUDGET (128 * 1024)  /* bytes read before it's the output's turn again, and credit's */
#define PUMP_TURNS 64                /* streams served before it's the input's turn again */
#define GOODBYE_MS 200
#define CLOSE_MS 2000
#define GATHER_TURNS 4               /* looks at what commands do before it is said */

struct child_visit {
  pid_t pid;
  int status;
};

static void visit_child(struct exec *exec, void *context) {
  const struct child_visit *visit = context;
  if (exec->pid == visit->pid && !exec->reaped) exec_reaped(exec, visit->status);
}

/* Collects every child that ended. */
static void on_children(struct watch *watch, uint32_t events) {
  (void)events;
  struct agent *agent = container_of(watch, struct agent, children);
  struct signalfd_siginfo ignored[8];
  while (read(watch->fd, ignored, sizeof ignored) > 0) continue;
  struct child_visit visit;
  while ((visit.pid = waitpid(-1, &visit.status, WNOHANG)) > 0) {
#ifndef HUTCH_NATIVE
    if (visit.pid == agent->box.holder) visit.status = box_holder_ended(agent, visit.status);
#endif
    agent_each_exec(agent, visit_child, &visit);
  }
}

void agent_each_exec(struct agent *agent, void (*visit)(struct exec *, void *), void *context) {
  for (int i = 0; i < STREAM_BUCKETS; i++) {
    for (struct stream *stream = agent->streams.buckets[i]; stream != NULL; stream = stream->next_in_bucket) {
      if (stream->exec != NULL) visit(stream->exec, context);
    }
  }
}

void agent_greet(struct agent *agent) {
  struct utsname system;
  if (uname(&system) < 0) system.release[0] = '\0';
  struct cbor_out message = {0};
  cbor_out_map(&message, 4);
  cbor_out_text(&message, "protocol");
  cbor_out_uint(&message, HUTCH_PROTOCOL_VERSION);
  cbor_out_text(&message, "agent");
  cbor_out_text(&message, HUTCH_VERSION);
  cbor_out_text(&message, "kernel");
  cbor_out_text(&message, system.release);
  cbor_out_text(&message, "bootMs");
  cbor_out_uint(&message, now_ms());
  struct frame frame = {.type = HUTCH_HELLO, .length = (uint32_t)message.length};
  channel_add(&agent->channel, &frame, message.bytes);
  transfer_greet(&agent->transfer, &agent->channel);
  channel_flush(&agent->channel);
}

int agent_open(struct agent *agent, int fd) {
  box_init(&agent->box);
  agent->children.fd = -1;
  int error = loop_open(&agent->loop);
  if (error == 0) error = channel_open(&agent->channel, &agent->loop, fd);
  if (error < 0) return error;
  agent_greet(agent);
  signal(SIGPIPE, SIG_IGN);
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, NULL);
  int child_fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
  if (child_fd < 0) return -errno;
  return loop_add(&agent->loop, &agent->children, child_fd, EPOLLIN, on_children);
}

void agent_free_stream(struct agent *agent, struct stream *stream) {
  if (stream->exec != NULL) exec_free(stream->exec);
  stream_free(&agent->streams, stream);
}

void agent_close(struct agent *agent) {
  for (int i = 0; i < STREAM_BUCKETS; i++) {
    while (agent->streams.buckets[i] != NULL) agent_free_stream(agent, agent->streams.buckets[i]);
  }
  loop_drop(&agent->loop, &agent->children);
  channel_close(&agent->channel, &agent->loop);
  loop_close(&agent->loop);
}

/* Sends what a stream has. True: it has more. The stream may be gone afterwards. */
static bool produce(struct agent *agent, struct stream *stream) {
  struct channel *channel = &agent->channel;
  if (stream->parked) {
    if (stream->exec == NULL || exec_over(stream->exec)) agent_free_stream(agent, stream);
    return false;
  }
  if (stream->has_answer) {
    struct frame frame = {.stream = stream->number, .type = stream->answer_type, .length = stream->answer_length};
    channel_add(channel, &frame, stream->answer);
    free(stream->answer);
    stream->answer = NULL;
    stream->has_answer = false;
    stream->answered = true;
    if (!channel_has_room(channel)) return true;
  }
  bool more = stream->exec != NULL && exec_produce(stream->exec);
  if (!channel_has_room(channel)) return true;
  if (stream->exec != NULL ? !exec_over(stream->exec) : !stream->done) return more;
  struct frame frame = {.stream = stream->number, .type = HUTCH_CLOSE};
  channel_add(channel, &frame, NULL);
  agent_free_stream(agent, stream);
  return false;
}

bool agent_pump(struct agent *agent) {
  struct channel *channel = &agent->channel;
  for (int turn = 0; turn < PUMP_TURNS; turn++) {
    if (!channel_has_room(channel)) {
      int error = channel_flush(channel);
      if (error == -EAGAIN) return false;
      if (error < 0) agent_lost(agent, "write to the channel: %s", strerror(-error));
    }
    transfer_tell(&agent->transfer, channel, agent->streams.count == 0);
    struct stream *stream = stream_next(&agent->streams);
    if (stream == NULL) break;
    if (produce(agent, stream)) stream_ready(&agent->streams, stream);
  }
  int error = channel_flush(channel);
  if (error < 0 && error != -EAGAIN) agent_lost(agent, "write to the channel: %s", strerror(-error));
  return error == 0 && agent->streams.ready_head != NULL;
}

/* The host closes the channel once it has written down why the guest ends; what it still sends is
 * dropped. A restart before that could end the host's process with the word unread. */
static void await_close(int fd, uint64_t deadline) {
  uint8_t dropped[4096];
  for (uint64_t now; (now = now_ms()) < deadline;) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, (int)(deadline - now)) < 0 && errno != EINTR) return;
    if (ready.revents == 0) continue;
    ssize_t got = read(fd, dropped, sizeof dropped);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return;
    if (got < 0 && ready.revents & (POLLHUP | POLLERR)) return;
  }
}

bool agent_goodbye(struct agent *agent, const char *reason, const char *message) {
  struct channel *channel = &agent->channel;
  struct cbor_out out = {0};
  cbor_out_map(&out, 2);
  cbor_out_text(&out, "reason");
  cbor_out_text(&out, reason);
  cbor_out_text(&out, "message");
  cbor_out_text(&out, message);
  struct frame frame = {.type = HUTCH_GOODBYE, .length = (uint32_t)out.length};
  uint64_t deadline = now_ms() + GOODBYE_MS;
  bool added = false;
  for (;;) {
    channel->writable = true; /* nobody listens to the loop's events any more */
    int error = channel_flush(channel);
    if (error == 0 && added) {
      await_close(channel->watch.fd, now_ms() + CLOSE_MS);
      return true;
    }
    if (error == 0) {
      channel_add(channel, &frame, out.bytes);
      added = true;
      continue;
    }
    uint64_t now = now_ms();
    if (error != -EAGAIN || now >= deadline) return false;
    struct pollfd ready = {.fd = channel->watch.fd, .events = POLLOUT};
    if (poll(&ready, 1, (int)(deadline - now)) > 0 && ready.revents & (POLLHUP | POLLERR)) return false;
  }
}

_Noreturn void agent_lost(struct agent *agent, const char *format, ...) {
  char message[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  log_line("lost: %s", message);
  if (agent->channel.watch.fd >= 0) agent_goodbye(agent, "lost", message);
  guest_end(agent);
}

/* A command that was started, or has closed its output, often ends in a moment. Each write costs the
 * guest and the host more than that moment: the processor goes to the command first. */
static int gather(struct agent *agent) {
  int error = 0;
  for (int turn = 0; turn < GATHER_TURNS && agent->more_soon && error == 0; turn++) {
    agent->more_soon = false;
    sched_yield();
    error = loop_turn(&agent->loop, 0);
  }
  agent->more_soon = false;
  return error;
}

/* How long the loop may wait for events, in ms; -1: without limit. */
static int wait_ms(struct agent *agent) {
  int ending = ending_wait_ms(agent), host = resume_wait_ms(agent);
  return host < 0 || (ending >= 0 && ending < host) ? ending : host;
}

void agent_serve(struct agent *agent) {
  const struct frame_sink sink = {.context = agent, .message = dispatch_message, .data = dispatch_data, .place = dispatch_place};
  bool busy = false;
  while (!agent->channel.ended || resume_connection(agent)) {
    int error = loop_turn(&agent->loop, busy || agent->channel.readable ? 0 : wait_ms(agent));
    if (error == 0) error = gather(agent);
    if (error < 0) agent_lost(agent, "wait for events: %s", strerror(-error));
    const char *why;
    error = channel_receive(&agent->channel, RECEIVE_BUDGET, &sink, &why);
    if (error == -EPROTO) agent_lost(agent, "the host sent %s", why);
    if (error < 0) agent_lost(agent, "read from the channel: %s", strerror(-error));
    busy = agent_pump(agent);
    ending_step(agent);
    if (resume_wait_ms(agent) == 0) return;
  }
}
