/* Clients: what they send goes to whoever answers it, with the answerer's numbers. */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* {kind: "busy", errno: 0, message: "too many streams"} as CBOR. */
static const uint8_t BUSY[] = "\xa3\x64kind\x64" "busy" "\x65" "errno\x00\x67message\x70too many streams";

static void count(struct hutch_relay *relay, enum hutch_relay_figure figure, long long change) {
  atomic_fetch_add_explicit(&relay->figures[figure], (uint64_t)change, memory_order_relaxed);
}

void client_take(struct hutch_relay *relay, int fd, bool own) {
  bool room = own || relay->count - relay->own_count < MOST_CLIENTS;
  struct client *client = relay->over || !room ? NULL : calloc(1, sizeof *client);
  if (client == NULL) {
    close(fd);
    return;
  }
  client->wire = (struct wire){.fd = fd, .spares = &relay->spares};
  client->own = own;
  relay->clients[relay->count++] = client;
  if (own) relay->own_count++;
  else count(relay, HUTCH_RELAY_CLIENTS, 1);
  if (relay->hello == NULL) return;
  client->greeted = true;
  client_send(relay, client, relay->hello, relay->hello_size);
  if (relay->goodbye != NULL) client_send(relay, client, relay->goodbye, relay->goodbye_size);
}

static void requeued(struct hutch_relay *relay, const struct client *client, size_t before) {
  count(relay, HUTCH_RELAY_QUEUED, (long long)client->wire.waiting - (long long)before);
}

/* Nothing can be written to it. What it sent before it went still counts. */
static void deafen(struct hutch_relay *relay, struct client *client) {
  size_t before = client->wire.waiting;
  wire_forget(&client->wire);
  requeued(relay, client, before);
  client->deaf = true;
}

void client_send(struct hutch_relay *relay, struct client *client, const void *bytes, size_t length) {
  if (client->gone || client->deaf) return;
  size_t before = client->wire.waiting;
  int result = wire_send(&client->wire, bytes, length);
  requeued(relay, client, before);
  if (result == -ENOMEM) client_drop(relay, client); /* a frame may be cut */
  else if (result < 0) deafen(relay, client);
}

void client_flush(struct hutch_relay *relay, struct client *client) {
  size_t before = client->wire.waiting;
  int result = wire_flush(&client->wire);
  requeued(relay, client, before);
  if (result < 0) deafen(relay, client);
}

void client_drop(struct hutch_relay *relay, struct client *client) {
  if (client->gone) return;
  client->gone = true;
  while (client->streams != NULL) {
    struct stream *stream = client->streams;
    struct answerer *answerer = stream->answerer;
    uint8_t frame[HUTCH_HEADER_SIZE];
    frame_write(frame, &(struct frame){.stream = stream->number, .type = HUTCH_CLOSE});
    stream_part(&relay->table, stream);
    if (stream->closing) continue;
    stream->closing = true;
    answerer_send(answerer, frame, sizeof frame);
  }
  deafen(relay, client);
  if (!client->own) count(relay, HUTCH_RELAY_CLIENTS, -1);
}

void clients_sweep(struct hutch_relay *relay) {
  unsigned kept = 0;
  for (unsigned i = 0; i < relay->count; i++) {
    struct client *client = relay->clients[i];
    if (!client->gone) {
      relay->clients[kept++] = client;
      continue;
    }
    if (client->own) relay->own_count--;
    wire_close(&client->wire);
    free(client);
  }
  relay->count = kept;
}

static void refuse(struct hutch_relay *relay, struct client *client, uint32_t number) {
  uint8_t frames[2 * HUTCH_HEADER_SIZE + sizeof BUSY - 1];
  frame_write(frames, &(struct frame){.length = sizeof BUSY - 1, .stream = number, .type = HUTCH_ERROR});
  memcpy(frames + HUTCH_HEADER_SIZE, BUSY, sizeof BUSY - 1);
  frame_write(frames + HUTCH_HEADER_SIZE + sizeof BUSY - 1, &(struct frame){.stream = number, .type = HUTCH_CLOSE});
  client_send(relay, client, frames, sizeof frames);
}

enum verdict { PASS, DROP, BAD };

static enum verdict judge_open(struct hutch_relay *relay, struct client *client, const struct frame *frame,
                               uint8_t *at, struct stream **found) {
  if (*found != NULL) return BAD;
  bool held = frame->flags & HUTCH_HELD, background = frame->flags & HUTCH_BACKGROUND;
  bool wide = frame->flags & HUTCH_WIDE;
  if (held && (client->own || wide)) return BAD;
  struct answerer *answerer = held ? &relay->holder : &relay->guest;
  struct stream *stream = answerer->wire.fd < 0
    ? NULL
    : stream_add(&relay->table, answerer, client, frame->stream, background);
  if (stream == NULL) {
    refuse(relay, client, frame->stream);
    return DROP;
  }
  relay->held_used |= held;
  if (held) client->held++;
  else count(relay, HUTCH_RELAY_STREAMS, 1);
  if (!held && !background) atomic_store(&relay->figures[HUTCH_RELAY_IDLE_SINCE], 0);
  at[HUTCH_HEADER_SIZE - 1] = (uint8_t)(held && background ? HUTCH_BACKGROUND : wide ? HUTCH_WIDE : 0);
  stream->rules.window = wide ? HUTCH_WIDE_WINDOW : HUTCH_WINDOW;
  *found = stream;
  return PASS;
}

/* What is to become of a frame, whose header was judged and is at `at`; PASS has *found. */
static enum verdict judge(struct hutch_relay *relay, struct client *client, const struct frame *frame, uint8_t *at,
                          struct stream **found) {
  struct stream *stream = *found = stream_find(&relay->table, client, frame->stream);
  if (frame->type == HUTCH_OPEN) return judge_open(relay, client, frame, at, found);
  if (stream == NULL || stream->closing) return DROP; /* a CLOSE crossed it */
  unsigned channel = frame->flags & HUTCH_CHANNEL_MASK;
  if (frame->type == HUTCH_DATA) {
    if (channel != HUTCH_STDIN || !rules_send(&stream->rules, frame->length)) return BAD;
  } else if (frame->type == HUTCH_CREDIT) {
    if (!rules_grant(&stream->rules, channel, frame_u32(at + HUTCH_HEADER_SIZE))) return BAD;
  } else if (frame->type == HUTCH_CLOSE) {
    stream->closing = true;
  }
  return PASS;
}

/* Frames, one after the other, that go to the same answerer. */
struct run {
  struct answerer *to;
  const uint8_t *from;
  size_t length;
};

static void send_run(struct run *run) {
  if (run->length > 0) answerer_send(run->to, run->from, run->length);
  run->length = 0;
}

/* Passes the frames on that are there; false when the client must go. */
static bool pass_on(struct hutch_relay *relay, struct client *client) {
  struct wire *wire = &client->wire;
  struct run run = {.to = NULL};
  bool good = true;
  while (good && !client->gone && wire->end - wire->start >= HUTCH_HEADER_SIZE) {
    uint8_t *at = wire->in + wire->start;
    struct frame frame = frame_read(at);
    char problem[PROBLEM_SIZE];
    good = client->greeted && frame_is_good(&frame, SIDE_HOST, problem);
    size_t whole = HUTCH_HEADER_SIZE + frame.length;
    if (!good || wire->end - wire->start < whole) break;
    wire->start += whole;
    struct stream *stream;
    enum verdict verdict = judge(relay, client, &frame, at, &stream);
    good = verdict != BAD;
    if (verdict != PASS) continue;
    frame_renumber(at, stream->number);
    count(relay, HUTCH_RELAY_BYTES, (long long)whole);
    uint8_t placed[HUTCH_HEADER_SIZE + HUTCH_PLACED_SIZE];
    if (frame.type == HUTCH_DATA && stream->answerer == &relay->guest && transfer_put(&relay->transfer, at, placed)) {
      send_run(&run);
      answerer_send(&relay->guest, placed, sizeof placed);
      continue;
    }
    if (run.to == stream->answerer && run.from + run.length == at) {
      run.length += whole;
      continue;
    }
    send_run(&run);
    run = (struct run){.to = stream->answerer, .from = at, .length = whole};
  }
  /* What was routed is sent even if the next frame is bad: the answerer must know those streams. */
  send_run(&run);
  return good;
}

void client_read(struct hutch_relay *relay, struct client *client) {
  long came = wire_fill(&client->wire);
  if (came == -EAGAIN || came == -EWOULDBLOCK) return;
  if (came > 0) atomic_store(&relay->figures[HUTCH_RELAY_LAST_TRAFFIC], relay_now());
  if (came <= 0 || !pass_on(relay, client)) client_drop(relay, client);
}
