/* What a relay has the system hold, and what memory it takes for the rest: `relay_flow FOLDER`. Ends with 1
 * if a frame is handed over in parts though nothing is in its way, or memory is taken again and again, or
 * kept for nothing. Linked so that the relay's calls of malloc and free come by here. */
#define _GNU_SOURCE 1
#include "frame.h"
#include "relay.h"
#include "relay_dial.h"

#include <malloc.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAIT_MS = 10000, WHOLE = HUTCH_HEADER_SIZE + HUTCH_MAX_PAYLOAD };
/* What waits is in pieces of about that size; nothing else of the relay's is. */
enum { LEAST_PIECE = 60 * 1024, MOST_PIECE = 70 * 1024 };

/* Pieces there are, and how often one was made. */
static atomic_int pieces, made;

void *__real_malloc(size_t size);
void __real_free(void *at);
void *__wrap_malloc(size_t size);
void __wrap_free(void *at);

static bool is_piece(size_t size) {
  return size >= LEAST_PIECE && size <= MOST_PIECE;
}

void *__wrap_malloc(size_t size) {
  if (is_piece(size)) {
    atomic_fetch_add(&pieces, 1);
    atomic_fetch_add(&made, 1);
  }
  return __real_malloc(size);
}

void __wrap_free(void *at) {
  if (at != NULL && is_piece(malloc_usable_size(at))) atomic_fetch_sub(&pieces, 1);
  __real_free(at);
}

static uint8_t bytes[WHOLE];

/* Writes a frame as a whole. */
static void say(int fd, struct frame frame) {
  frame_write(bytes, &frame);
  size_t size = HUTCH_HEADER_SIZE + frame.length;
  for (size_t at = 0; at < size;) {
    ssize_t sent = send(fd, bytes + at, size - at, MSG_NOSIGNAL);
    if (sent < 0) fail("can't write");
    at += (size_t)sent;
  }
}

/* Reads so many bytes. */
static void hear(int fd, size_t count) {
  static uint8_t heard[WHOLE];
  while (count > 0) {
    if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, WAIT_MS) <= 0) fail("nothing comes");
    ssize_t came = read(fd, heard, count < sizeof heard ? count : sizeof heard);
    if (came <= 0) fail("the relay went");
    count -= (size_t)came;
  }
}

#define WAIT_FOR(condition, otherwise)                        \
  for (int tries = 0; !(condition); tries++, usleep(1000)) \
    if (tries == WAIT_MS) fail(otherwise)

/* Bytes that can be read at once. */
static int there(int fd) {
  int count = 0;
  if (ioctl(fd, FIONREAD, &count) < 0) fail("can't count");
  return count;
}

static uint64_t figure(struct hutch_relay *relay, enum hutch_relay_figure which) {
  uint64_t figures[HUTCH_RELAY_FIGURES];
  hutch_relay_state(relay, figures);
  return figures[which];
}

static void credit(int fd, uint32_t number, uint8_t channel, uint32_t count) {
  uint8_t frame[HUTCH_HEADER_SIZE + 4];
  frame_write(frame, &(struct frame){.length = 4, .stream = number, .type = HUTCH_CREDIT, .flags = channel});
  for (int i = 0; i < 4; i++) frame[HUTCH_HEADER_SIZE + i] = (uint8_t)(count >> (24 - 8 * i));
  if (send(fd, frame, sizeof frame, MSG_NOSIGNAL) < 0) fail("can't write");
}

/* The largest frame, to someone who reads nothing yet. */
static void whole_frames(int client, int guest) {
  say(guest, (struct frame){.length = HUTCH_MAX_PAYLOAD, .stream = 1, .type = HUTCH_DATA, .flags = HUTCH_STDOUT});
  WAIT_FOR(there(client) == WHOLE, "a client isn't given a frame at once");
  hear(client, WHOLE);
  credit(client, 7, HUTCH_STDOUT, HUTCH_MAX_PAYLOAD);
  hear(guest, HUTCH_HEADER_SIZE + 4);
  say(client, (struct frame){.length = HUTCH_MAX_PAYLOAD, .stream = 7, .type = HUTCH_DATA, .flags = HUTCH_STDIN});
  WAIT_FOR(there(guest) == WHOLE, "the guest isn't given a frame at once");
  hear(guest, WHOLE);
}

/* More than the system holds, again and again, to a client that reads only then. */
static void much_waits(struct hutch_relay *relay, int client, int guest) {
  enum { FRAMES = HUTCH_WIDE_WINDOW / HUTCH_MAX_PAYLOAD, ROUNDS = 8, SPARE = 16 };
  int used = 0;
  for (int round = 0; round < ROUNDS; round++) {
    uint64_t before = figure(relay, HUTCH_RELAY_BYTES);
    for (int i = 0; i < FRAMES; i++)
      say(guest, (struct frame){.length = HUTCH_MAX_PAYLOAD, .stream = 1, .type = HUTCH_DATA, .flags = HUTCH_STDOUT});
    WAIT_FOR(figure(relay, HUTCH_RELAY_BYTES) == before + (uint64_t)FRAMES * WHOLE, "the guest isn't read");
    used += atomic_load(&pieces);
    hear(client, (size_t)FRAMES * WHOLE);
    WAIT_FOR(figure(relay, HUTCH_RELAY_QUEUED) == 0, "something waits that was read");
    if (atomic_load(&pieces) > SPARE) fail("too much memory is kept");
    credit(client, 7, HUTCH_STDOUT, HUTCH_WIDE_WINDOW);
    hear(guest, HUTCH_HEADER_SIZE + 4);
  }
  if (used < 2 * ROUNDS * SPARE) fail("too little waits");
  if (used - atomic_load(&made) < (ROUNDS - 1) * SPARE) fail("memory isn't used again");
}

int main(int count, char **arguments) {
  if (count < 2) return 2;
  char clients_path[100], channel_path[100];
  snprintf(clients_path, sizeof clients_path, "%s/clients", arguments[1]);
  snprintf(channel_path, sizeof channel_path, "%s/channel", arguments[1]);
  struct hutch_relay *relay;
  if (hutch_relay_open(clients_path, channel_path, -1, &relay) < 0) fail("can't open");
  int own = dial(channel_path), holder = dial(channel_path), guest = dial(channel_path);
  say(guest, (struct frame){.length = 9, .type = HUTCH_HELLO});
  int client = dial(clients_path);
  hear(client, HUTCH_HEADER_SIZE + 9);
  say(client, (struct frame){.length = 1, .stream = 7, .type = HUTCH_OPEN, .flags = HUTCH_WIDE});
  hear(guest, HUTCH_HEADER_SIZE + 1);
  say(guest, (struct frame){.length = 1, .stream = 1, .type = HUTCH_REPLY});
  hear(client, HUTCH_HEADER_SIZE + 1);
  whole_frames(client, guest);
  much_waits(relay, client, guest);
  say(guest, (struct frame){.stream = 1, .type = HUTCH_CLOSE});
  hear(client, HUTCH_HEADER_SIZE);
  WAIT_FOR(atomic_load(&pieces) == 0, "memory is kept though no stream needs it");
  hutch_relay_close(relay);
  close(own);
  close(holder);
  close(guest);
  close(client);
  return 0;
}
