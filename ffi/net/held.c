#include "held.h"

#include "control.h"
#include "hooks.h"
#include "loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELD_MAX = 512, HELD_BYTES = 4 * 1024 * 1024, NAMES_TEXT = NAMES_OF_ADDRESS * (NAME_TEXT + 3) };

struct held {
  struct question question;
  struct flow_key key;
  struct held *next;
  size_t length;
  uint8_t frame[];
};

static struct filter *filter;
static void (*look_again)(uint8_t *frame, size_t length);
static struct held *all;
static unsigned held_count;
static size_t held_bytes;

void held_init(struct filter *own_filter, void (*again)(uint8_t *frame, size_t length)) {
  filter = own_filter;
  look_again = again;
}

static void decide(uint8_t *frame, size_t length, const struct permit *permit) {
  filter->permit = permit;
  look_again(frame, length);
  filter->permit = NULL;
}

static void answered(struct question *question, const struct ruling *ruling) {
  struct held *held = container_of(question, struct held, question), **at = &all;
  while (*at != held) at = &(*at)->next;
  *at = held->next;
  held_count--;
  held_bytes -= held->length;
  decide(held->frame, held->length, &ruling->permit);
  free(held);
}

/* What connections say is for has come from the box itself: it asked for these names. */
static void put_names(const struct address *address, char text[NAMES_TEXT]) {
  struct known_names known;
  size_t at = 0;
  names_of(&filter->names, address, now_ms(), &known);
  text[0] = '\0';
  for (size_t i = 0; i < known.count; i++) {
    if (strpbrk(known.list[i], "\"\\") != NULL) continue; /* of no use to anybody */
    at += (size_t)snprintf(text + at, NAMES_TEXT - at, "%s\"%s\"", at > 0 ? "," : "", known.list[i]);
  }
}

static bool ask(struct question *question, const struct flow_key *key) {
  static char names[NAMES_TEXT];
  char text[NAMES_TEXT + 256], address[ADDRESS_TEXT];
  address_format(&key->remote, address);
  put_names(&key->remote, names);
  snprintf(text, sizeof text, "\"about\":\"connect\",\"protocol\":\"%s\",\"address\":\"%s\",\"port\":%u,\"group\":\"%s\",\"names\":[%s]",
           control_protocol(key->protocol), address, key->remote_port, GROUP_NAMES[filter_group(filter, &key->remote, now_ms())], names);
  return hooks_ask(question, text);
}

void held_ask(uint8_t *frame, size_t length) {
  const struct packet *packet = &filter->packet;
  struct flow_key key = {.remote = packet->target, .remote_port = packet->target_port,
                         .guest_port = packet->source_port, .protocol = packet->protocol};
  for (struct held *held = all; held != NULL; held = held->next) {
    bool same = address_equal(&held->key.remote, &key.remote) && held->key.remote_port == key.remote_port &&
                held->key.guest_port == key.guest_port && held->key.protocol == key.protocol;
    if (same) return; /* said again while it waits */
  }
  bool room = held_count < HELD_MAX && held_bytes + length <= HELD_BYTES;
  struct held *held = room ? malloc(sizeof *held + length) : NULL;
  if (held == NULL) {
    decide(frame, length, &HOOKS_LATE.permit);
    return;
  }
  *held = (struct held){.key = key, .length = length, .question = {.answered = answered}};
  memcpy(held->frame, frame, length);
  if (!ask(&held->question, &key)) {
    free(held);
    decide(frame, length, &HOOKS_GONE.permit);
    return;
  }
  held->next = all;
  all = held;
  held_count++;
  held_bytes += length;
}
