/* The guest and the box process's holder: what they send goes to the clients whose streams it is about. */
#include "core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void holder_drain(struct hutch_relay *relay);

void relay_end(struct hutch_relay *relay, enum hutch_relay_why why, const char *text) {
  if (relay->over) return;
  /* What it said of its commands' ends came before. */
  if (why != HUTCH_RELAY_CLOSED) holder_drain(relay);
  if (relay->over) return;
  relay->over = true;
  wire_close(&relay->guest.wire);
  wire_close(&relay->holder.wire);
  pthread_mutex_lock(&relay->mutex);
  relay->why = why;
  snprintf(relay->problem, sizeof relay->problem, "%s", text);
  pthread_mutex_unlock(&relay->mutex);
}

static void guest_lost(struct hutch_relay *relay, const char *what, int error) {
  char text[PROBLEM_SIZE];
  snprintf(text, sizeof text, "%s the agent failed: %s", what, strerror(error));
  relay_end(relay, HUTCH_RELAY_GUEST_LOST, text);
}

void holder_end(struct hutch_relay *relay) {
  if (relay->holder.wire.fd < 0) return;
  wire_close(&relay->holder.wire);
  for (unsigned i = 0; i < relay->count; i++)
    if (relay->clients[i]->held > 0) client_drop(relay, relay->clients[i]);
}

void answerer_send(struct answerer *answerer, const void *bytes, size_t length) {
  if (answerer->wire.fd < 0 || answerer->broken) return;
  int result = wire_send(&answerer->wire, bytes, length);
  if (result == -ENOMEM) answerer->broken = result; /* a frame may be cut */
  else if (result < 0) wire_forget(&answerer->wire); /* it is gone, which reading finds, after all it said */
}

void answerer_flush(struct answerer *answerer) {
  if (wire_flush(&answerer->wire) < 0) wire_forget(&answerer->wire);
}

void answerers_sweep(struct hutch_relay *relay) {
  if (relay->holder.broken) holder_end(relay);
  if (relay->guest.broken) guest_lost(relay, "writing to", -relay->guest.broken);
}

static void forget(struct hutch_relay *relay, struct stream *stream) {
  struct answerer *answerer = stream->answerer;
  if (answerer == &relay->holder && stream->client != NULL) stream->client->held--;
  stream_remove(&relay->table, stream, relay_now());
  relay->stream_ended = true;
  if (answerer != &relay->guest) return;
  atomic_store(&relay->figures[HUTCH_RELAY_STREAMS], answerer->count);
  atomic_store(&relay->figures[HUTCH_RELAY_IDLE_SINCE], answerer->active > 0 ? 0 : answerer->idle_since);
}

static uint8_t *copy_of(const uint8_t *bytes, size_t length) {
  uint8_t *copy = malloc(length);
  return copy == NULL ? NULL : memcpy(copy, bytes, length);
}

#define WRONG(...) (snprintf(problem, PROBLEM_SIZE, __VA_ARGS__), false)

/* HELLO or GOODBYE; `at` is the whole frame. */
static bool connection_frame(struct hutch_relay *relay, const struct frame *frame, const uint8_t *at, char *problem) {
  bool hello = frame->type == HUTCH_HELLO;
  if (hello && relay->hello != NULL) return WRONG("HELLO came twice");
  if (!hello && relay->hello == NULL) return WRONG("GOODBYE came before HELLO");
  if (!hello && relay->goodbye != NULL) return WRONG("GOODBYE came twice");
  size_t size = HUTCH_HEADER_SIZE + frame->length;
  uint8_t *kept = copy_of(at, size);
  if (kept == NULL) return WRONG("%s found no memory", hello ? "HELLO" : "GOODBYE");
  if (hello) {
    relay->hello = kept;
    relay->hello_size = size;
  } else {
    relay->goodbye = kept;
    relay->goodbye_size = size;
    holder_drain(relay);
  }
  bool alone = !hello && !relay->held_used && relay->count - relay->own_count == 1;
  /* The box process's own is the first of them and hears it last: it may end all then. */
  for (unsigned i = relay->count; i-- > 0;) {
    struct client *client = relay->clients[i];
    client->greeted = true;
    if (alone && !client->own) kept[HUTCH_HEADER_SIZE - 1] = HUTCH_ALONE;
    client_send(relay, client, kept, size);
    kept[HUTCH_HEADER_SIZE - 1] = 0; /* others may come yet */
  }
  return true;
}

/* Frames, one after the other, that go to the same client. */
struct run {
  struct client *to;
  const uint8_t *from;
  size_t length;
};

static void send_run(struct hutch_relay *relay, struct run *run) {
  if (run->length > 0) client_send(relay, run->to, run->from, run->length);
  run->length = 0;
}

/* Finds who gets a frame, which is at `at` as a whole, and gives it the client's number: *to is NULL for
 * nobody. False if it breaks the protocol. */
static bool receive(struct hutch_relay *relay, struct answerer *answerer, const struct frame *frame, uint8_t *at,
                    struct client **to, char *problem) {
  *to = NULL;
  bool known = frame->stream <= HUTCH_MAX_STREAMS && answerer->streams[frame->stream] != NULL;
  if (!known) return WRONG("a frame came for stream %u, which isn't open", frame->stream);
  struct stream *stream = answerer->streams[frame->stream];
  uint32_t credit = frame->type == HUTCH_CREDIT ? frame_u32(at + HUTCH_HEADER_SIZE) : 0;
  char why[RULE_PROBLEM_SIZE];
  if (!rules_receive(&stream->rules, frame, credit, why)) return WRONG("stream %u: %s", frame->stream, why);
  if (frame->type != HUTCH_CLOSE && stream->closing) return true;
  *to = stream->client;
  frame_renumber(at, stream->client_number);
  if (frame->type != HUTCH_CLOSE) return true;
  bool sent_away = answerer == &relay->holder && !stream->closing && !stream->rules.replied && !stream->rules.failed;
  forget(relay, stream);
  if (!sent_away || *to == NULL) return true;
  client_drop(relay, *to);
  *to = NULL;
  return true;
}

/* Hands the frames out that are there; false if one breaks the protocol. */
static bool hand_out(struct hutch_relay *relay, struct answerer *answerer, char *problem) {
  struct wire *wire = &answerer->wire;
  struct run run = {.to = NULL};
  bool good = true, guest = answerer == &relay->guest;
  uint64_t passed = 0;
  while (good && wire->end - wire->start >= HUTCH_HEADER_SIZE) {
    if (guest && relay->goodbye != NULL) {
      wire->start = wire->end; /* that was the last frame */
      break;
    }
    uint8_t *at = wire->in + wire->start;
    struct frame frame = frame_read(at);
    good = frame_is_good(&frame, SIDE_AGENT, problem);
    size_t whole = HUTCH_HEADER_SIZE + frame.length;
    if (!good || wire->end - wire->start < whole) break;
    wire->start += whole;
    passed += whole;
    struct client *to = NULL;
    if (frame.type == HUTCH_TAKEN) {
      uint32_t count = frame_u32(at + HUTCH_HEADER_SIZE);
      good = (guest && relay->hello != NULL && transfer_taken(&relay->transfer, count)) ||
        WRONG("TAKEN of %u pieces came, which nobody gave", count);
    } else if (frame.stream == 0) {
      send_run(relay, &run); /* GOODBYE comes after what came before */
      good = guest ? connection_frame(relay, &frame, at, problem) : WRONG("it said hello");
    } else if (guest && relay->hello == NULL) {
      good = WRONG("a frame came before HELLO");
    } else {
      /* A client may be sent away by it. */
      if (!guest && frame.type == HUTCH_CLOSE) send_run(relay, &run);
      good = receive(relay, answerer, &frame, at, &to, problem);
    }
    if (!good || to == NULL) continue;
    if (run.to == to && run.length > 0 && run.from + run.length == at) {
      run.length += whole;
      continue;
    }
    send_run(relay, &run);
    run = (struct run){.to = to, .from = at, .length = whole};
  }
  send_run(relay, &run);
  atomic_fetch_add_explicit(&relay->figures[HUTCH_RELAY_BYTES], passed, memory_order_relaxed);
  return good;
}

/* What has come from the holder, as far as it has. */
static void holder_drain(struct hutch_relay *relay) {
  struct answerer *holder = &relay->holder;
  char problem[PROBLEM_SIZE];
  while (holder->wire.fd >= 0) {
    long came = wire_fill(&holder->wire);
    if (came == -EAGAIN || came == -EWOULDBLOCK) return;
    if (came <= 0 || !hand_out(relay, holder, problem)) holder_end(relay);
  }
}

static void guest_ended(struct hutch_relay *relay, long came) {
  bool between = relay->guest.wire.start == relay->guest.wire.end;
  if (came < 0) guest_lost(relay, "reading from", (int)-came);
  else if (between) relay_end(relay, HUTCH_RELAY_GUEST_CLOSED, "the agent's connection ended");
  else relay_end(relay, HUTCH_RELAY_GUEST_LOST, "the agent's connection ended within a frame");
}

void answerer_read(struct hutch_relay *relay, struct answerer *answerer) {
  long came = wire_fill(&answerer->wire);
  if (came == -EAGAIN || came == -EWOULDBLOCK) return;
  if (came > 0) atomic_store(&relay->figures[HUTCH_RELAY_LAST_TRAFFIC], relay_now());
  bool guest = answerer == &relay->guest;
  char problem[PROBLEM_SIZE];
  if (came <= 0 && guest) return guest_ended(relay, came);
  if (came > 0 && hand_out(relay, answerer, problem)) return;
  if (guest) relay_end(relay, HUTCH_RELAY_PROTOCOL, problem);
  else holder_end(relay);
}
