/* Throws frames, right and wrong ones, at a relay from all sides at once: `relay_fuzz SEED RUNS FOLDER`.
 * Ends with 1 if the relay says something that isn't in order, hangs, or keeps more than credit allows. */
#define _GNU_SOURCE 1
#include "frame.h"
#include "relay.h"
#include "relay_dial.h"
#include "transfer_disk.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 4, MOST = 64, STEPS = 300, BUFFER = 2 * (HUTCH_HEADER_SIZE + HUTCH_MAX_PAYLOAD) };

enum kind { OWN, HOLDER, GUEST, CLIENT };

/* One end of a connection to the relay. */
struct end {
  enum kind kind;
  int fd;
  uint8_t in[BUFFER];
  size_t there;
  bool hello;
  /* Streams that it has, and what each was answered last: 0 for nothing. */
  uint32_t streams[MOST];
  uint8_t answered[MOST];
  unsigned count;
};

static uint64_t state;
static char clients_path[100], channel_path[100];
static struct end ends[3 + CLIENTS];
static uint32_t pieces; /* on the transfer disk, that the guest hasn't taken */
static uint8_t payload[HUTCH_MAX_PAYLOAD];

static uint32_t chance(uint32_t below) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33) % below;
}

static void hang_up(struct end *end) {
  if (end->fd >= 0) close(end->fd);
  *end = (struct end){.kind = end->kind, .fd = -1};
}

/* What the relay doesn't take now is lost, and the rest of what it gets makes no sense. */
static void put(struct end *end, const void *bytes, size_t length) {
  if (end->fd >= 0) (void)!send(end->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void say(struct end *end, struct frame frame) {
  static uint8_t bytes[HUTCH_HEADER_SIZE + HUTCH_MAX_PAYLOAD];
  frame_write(bytes, &frame);
  size_t length = frame.length <= HUTCH_MAX_PAYLOAD ? frame.length : 0;
  memcpy(bytes + HUTCH_HEADER_SIZE, payload, length);
  put(end, bytes, HUTCH_HEADER_SIZE + length);
}

static void forget(struct end *end, unsigned at) {
  end->count--;
  end->streams[at] = end->streams[end->count];
  end->answered[at] = end->answered[end->count];
}

static void remember(struct end *end, uint32_t stream) {
  if (end->count == MOST) return;
  end->answered[end->count] = 0;
  end->streams[end->count++] = stream;
}

static void say_taken(struct end *end, uint32_t count) {
  frame_put_u32(payload, count);
  say(end, (struct frame){.length = 4, .type = HUTCH_TAKEN});
}

/* What stands for a frame whose bytes are on the transfer disk becomes such a frame. */
static void look_at_place(struct frame *frame, const uint8_t *place) {
  uint32_t at = frame_u32(place), length = frame_u32(place + 4), mark = frame_u32(place + 8);
  if (frame->length != HUTCH_PLACED_SIZE || at % HUTCH_TRANSFER_BLOCK != 0 || mark == 0)
    fail("a place that makes no sense");
  if (at > HUTCH_TRANSFER_BYTES || HUTCH_SECTORS(length) + HUTCH_SECTOR > HUTCH_TRANSFER_BYTES - at)
    fail("a place beyond the disk");
  frame->length = length;
  frame->flags &= (uint8_t)~HUTCH_PLACED;
  pieces++;
}

/* Looks at what the relay said. */
static void heard(struct end *end, struct frame *frame, const uint8_t *at) {
  char problem[PROBLEM_SIZE];
  bool answers = end->kind == GUEST || end->kind == HOLDER;
  if (end->kind == GUEST && frame->type == HUTCH_DATA && (frame->flags & HUTCH_PLACED)) look_at_place(frame, at);
  if (end->kind == CLIENT && frame->type == HUTCH_GOODBYE) frame->flags &= (uint8_t)~HUTCH_ALONE;
  if (!frame_is_good(frame, answers ? SIDE_HOST : SIDE_AGENT, problem)) fail(problem);
  if (answers && frame->stream > HUTCH_MAX_STREAMS) fail("a number that no answerer has");
  if (frame->stream == 0) {
    if (frame->type == HUTCH_HELLO && end->hello) fail("a second hello");
    if (frame->type == HUTCH_HELLO) end->hello = true;
    else if (!end->hello) fail("a goodbye before the hello");
    return;
  }
  if (!answers && !end->hello) fail("a frame before the hello");
  if (frame->type == HUTCH_OPEN) {
    if (end->kind == GUEST && (frame->flags & (uint8_t)~HUTCH_WIDE) != 0) fail("flags for the guest");
    remember(end, frame->stream);
  }
  for (unsigned i = 0; i < end->count; i++)
    if (!answers && end->streams[i] == frame->stream && frame->type == HUTCH_CLOSE) forget(end, i);
}

static void listen_to(struct end *end) {
  if (end->fd < 0) return;
  ssize_t came = recv(end->fd, end->in + end->there, sizeof end->in - end->there, MSG_DONTWAIT);
  if (came < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (came <= 0) return hang_up(end);
  end->there += (size_t)came;
  size_t at = 0;
  while (end->there - at >= HUTCH_HEADER_SIZE) {
    struct frame frame = frame_read(end->in + at);
    if (end->there - at < HUTCH_HEADER_SIZE + frame.length) break;
    size_t whole = HUTCH_HEADER_SIZE + frame.length;
    heard(end, &frame, end->in + at + HUTCH_HEADER_SIZE);
    at += whole;
  }
  memmove(end->in, end->in + at, end->there - at);
  end->there -= at;
}

static struct frame credit_of(uint32_t stream, uint8_t channel) {
  uint32_t count = 1 + chance(chance(2) ? 10 : 70000);
  for (int i = 0; i < 4; i++) payload[i] = (uint8_t)(count >> (24 - 8 * i));
  return (struct frame){.length = 4, .stream = stream, .type = HUTCH_CREDIT, .flags = channel};
}

/* Anything that has a header. */
static struct frame nonsense(void) {
  const uint32_t lengths[] = {0, 0, 1, 4, 50, 70000, HUTCH_MAX_PAYLOAD, 0xffffffff};
  return (struct frame){.length = lengths[chance(8)], .stream = chance(6), .type = (uint8_t)chance(13),
                        .flags = (uint8_t)(chance(3) ? chance(4) : chance(256))};
}

static uint32_t size(void) {
  return 1 + chance(chance(4) ? 200 : HUTCH_MAX_PAYLOAD);
}

static void speak_as_client(struct end *end, bool own) {
  uint32_t stream = end->count > 0 ? end->streams[chance(end->count)] : 1 + chance(MOST);
  switch (chance(8)) {
  case 0: case 1: case 2:
    stream = 1 + chance(1000);
    remember(end, stream);
    say(end, (struct frame){.length = 1 + chance(300), .stream = stream, .type = HUTCH_OPEN,
                            .flags = (uint8_t)((own || chance(3) ? 0 : HUTCH_HELD) | (chance(3) ? 0 : HUTCH_BACKGROUND) | (chance(9) ? 0 : HUTCH_WIDE))});
    break;
  case 3: say(end, (struct frame){.length = size(), .stream = stream, .type = HUTCH_DATA}); break;
  case 4: say(end, credit_of(stream, (uint8_t)(1 + chance(2)))); break;
  case 5: say(end, (struct frame){.length = 1 + chance(9), .stream = stream, .type = HUTCH_CONTROL}); break;
  case 6: say(end, (struct frame){.stream = stream, .type = HUTCH_CLOSE}); break;
  default: break;
  }
}

static void speak_as_answerer(struct end *end) {
  if (end->count == 0) return;
  unsigned at = chance(end->count);
  uint32_t stream = end->streams[at];
  if (!end->answered[at]) {
    end->answered[at] = chance(9) ? HUTCH_REPLY : HUTCH_ERROR;
    say(end, (struct frame){.length = 1 + chance(9), .stream = stream, .type = end->answered[at]});
    return;
  }
  switch (end->answered[at] == HUTCH_REPLY ? chance(6) : 5) {
  case 0: case 1: case 2:
    say(end, (struct frame){.length = size(), .stream = stream, .type = HUTCH_DATA, .flags = (uint8_t)(1 + chance(2))});
    break;
  case 3: if (chance(200) == 0) say(end, credit_of(stream, HUTCH_STDIN)); break;
  case 4:
    end->answered[at] = HUTCH_EXIT;
    say(end, (struct frame){.length = 3, .stream = stream, .type = HUTCH_EXIT});
    break;
  default:
    say(end, (struct frame){.stream = stream, .type = HUTCH_CLOSE});
    forget(end, at);
  }
}

static void speak(struct end *end) {
  if (end->fd < 0) return;
  bool client = end->kind == CLIENT;
  if (chance(client ? 200 : 4000) == 0) return hang_up(end);
  if (chance(client ? 60 : 4000) == 0) return say(end, nonsense());
  if (chance(4000) == 0) return put(end, payload, chance(100));
  if (end->kind == GUEST && chance(4000) == 0) return say(end, (struct frame){.length = 5, .type = HUTCH_GOODBYE});
  if (end->kind == GUEST && chance(9) == 0) {
    uint32_t count = chance(4000) == 0 ? chance(200) : chance(pieces + 1);
    if (count <= pieces) pieces -= count;
    return say_taken(end, count);
  }
  if (end->kind == GUEST || end->kind == HOLDER) speak_as_answerer(end);
  else speak_as_client(end, end->kind == OWN);
}

/* Some of what is there is left unread, as by a slow client. */
static void step(struct end *end, bool slow) {
  for (uint32_t words = chance(8); words > 0; words--) speak(end);
  if (!slow || chance(20) == 0) listen_to(end);
}

static void start(struct hutch_relay **relay) {
  unlink(clients_path);
  unlink(channel_path);
  if (hutch_relay_open(clients_path, channel_path, -1, relay) < 0) fail("can't open a relay");
  for (unsigned i = 0; i < 3 + CLIENTS; i++)
    ends[i] = (struct end){.kind = i < CLIENT ? (enum kind)i : CLIENT,
                           .fd = dial(i < CLIENT ? channel_path : clients_path)};
  say(&ends[GUEST], (struct frame){.length = 9, .type = HUTCH_HELLO});
  pieces = 0;
}

/* The guest goes, and everything is read until the relay has noticed. */
static void wind_up(struct hutch_relay *relay) {
  char text[PROBLEM_SIZE];
  hang_up(&ends[GUEST]);
  hutch_relay_part(relay);
  for (int tries = 0; hutch_relay_ended(relay, text, sizeof text) == 0; tries++) {
    if (tries > 30000) fail("the relay doesn't end though its guest has");
    for (unsigned i = 0; i < 3 + CLIENTS; i++) listen_to(&ends[i]);
    poll(NULL, 0, 1);
  }
}

static void run(void) {
  struct hutch_relay *relay;
  start(&relay);
  uint64_t figures[HUTCH_RELAY_FIGURES];
  for (int n = 0; n < STEPS; n++) {
    for (unsigned i = 0; i < 3 + CLIENTS; i++) step(&ends[i], i == CLIENT);
    if (ends[GUEST].fd >= 0 && chance(40) == 0) hutch_relay_part(relay);
    struct end *gone = &ends[CLIENT + chance(CLIENTS)];
    if (gone->fd < 0 && chance(5) == 0) gone->fd = dial(clients_path);
    if (chance(100) == 0) hutch_relay_drain(relay, 1);
    hutch_relay_state(relay, figures);
    if (figures[HUTCH_RELAY_STREAMS] > HUTCH_MAX_STREAMS) fail("too many streams");
    if (figures[HUTCH_RELAY_CLIENTS] > CLIENTS + 300) fail("clients that have gone are counted");
  }
  if (chance(4) > 0) wind_up(relay);
  hutch_relay_close(relay);
  for (unsigned i = 0; i < 3 + CLIENTS; i++) hang_up(&ends[i]);
}

int main(int count, char **arguments) {
  if (count != 4) fail("relay_fuzz SEED RUNS FOLDER");
  snprintf(clients_path, sizeof clients_path, "%s/clients", arguments[3]);
  snprintf(channel_path, sizeof channel_path, "%s/channel", arguments[3]);
  state = strtoull(arguments[1], NULL, 10);
  for (long runs = atol(arguments[2]); runs > 0; runs--) run();
  return 0;
}
