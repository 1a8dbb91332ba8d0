#define _GNU_SOURCE 1
#include "events.h"

#include "control.h"
#include "dns_message.h"
#include "loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  KEPT_MAX = 256,
  QUOTED = 2 * DNS_NAME_TEXT + 3,
  EVENT_TEXT = 1024 + 2 * QUOTED,
};

/* So many of a kind a second: a guest can cause any number of them. */
struct budget {
  unsigned most, told;
  uint64_t second;
};

uint64_t events_lost;

static struct filter *filter;
static struct budget denials = {.most = 20}, conversations = {.most = 100};
static char *kept[KEPT_MAX]; /* the oldest is at kept_first */
static unsigned kept_first, kept_count;

void events_init(struct filter *own_filter) {
  filter = own_filter;
  filter->on_denied = events_denied;
  filter->on_begun = events_begun;
  filter->flows.told = events_over;
}

static bool may_tell(struct budget *budget) {
  uint64_t second = now_ms() / 1000;
  if (second != budget->second) {
    budget->second = second;
    budget->told = 0;
  }
  if (budget->told >= budget->most) {
    events_lost++;
    return false;
  }
  budget->told++;
  return true;
}

static void keep(const char *text) {
  if (kept_count == KEPT_MAX) {
    free(kept[kept_first]);
    kept_first = (kept_first + 1) % KEPT_MAX;
    kept_count--;
    events_lost++;
  }
  char *copy = strdup(text);
  if (copy == NULL) events_lost++;
  else kept[(kept_first + kept_count++) % KEPT_MAX] = copy;
}

static void tell(const char *text) {
  if (!control_tell(text)) keep(text);
}

void events_replay(void) {
  while (kept_count > 0 && control_tell(kept[kept_first])) {
    free(kept[kept_first]);
    kept_first = (kept_first + 1) % KEPT_MAX;
    kept_count--;
  }
}

/* A name as JSON: what names don't have is in it as \DDD. */
static const char *quote(const char *name, char text[QUOTED]) {
  size_t at = 0;
  if (name == NULL) return "null";
  text[at++] = '"';
  for (; *name != '\0' && at < 2 * DNS_NAME_TEXT; name++) {
    if (*name == '\\' || *name == '"') text[at++] = '\\';
    text[at++] = *name;
  }
  text[at++] = '"';
  text[at] = '\0';
  return text;
}

/* In ms since 1970: it may be read much later. */
static unsigned long long wall_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000;
}

void events_denied(void *context, const struct denial *denial) {
  char text[EVENT_TEXT], address[ADDRESS_TEXT], name[QUOTED], hook[QUOTED], plugin[QUOTED];
  (void)context;
  if (!may_tell(&denials)) return;
  address_format(&denial->key->remote, address);
  snprintf(text, sizeof text,
           "{\"event\":\"denied\",\"at\":%llu,\"protocol\":\"%s\",\"address\":\"%s\",\"port\":%u,\"group\":\"%s\",\"domain\":%s,"
           "\"rule\":%d,\"hook\":%s,\"plugin\":%s,\"lost\":%llu}\n",
           wall_ms(), control_protocol(denial->key->protocol), address, denial->key->remote_port, GROUP_NAMES[denial->group],
           quote(denial->name, name), denial->rule, quote(denial->hook, hook), quote(denial->plugin, plugin), (unsigned long long)events_lost);
  tell(text);
}

/* What the beginning of a conversation and its end have in common. */
static void tell_flow(const char *event, const struct flow *flow, const char *more) {
  char text[EVENT_TEXT], address[ADDRESS_TEXT], name[QUOTED];
  struct known_names known;
  if (!may_tell(&conversations)) return;
  address_format(&flow->key.remote, address);
  names_of(&filter->names, &flow->key.remote, now_ms(), &known);
  snprintf(text, sizeof text,
           "{\"event\":\"%s\",\"at\":%llu,\"direction\":\"%s\",\"protocol\":\"%s\",\"address\":\"%s\",\"port\":%u,\"boxPort\":%u,"
           "\"domain\":%s,\"rule\":%d,%s\"lost\":%llu}\n",
           event, wall_ms(), flow->inbound ? "in" : "out", control_protocol(flow->key.protocol), address, flow->key.remote_port,
           flow->key.guest_port, quote(known.count > 0 ? known.list[0] : NULL, name), flow->rule, more, (unsigned long long)events_lost);
  tell(text);
}

void events_begun(void *context, const struct flow *flow) {
  (void)context;
  tell_flow("connected", flow, "");
}

void events_over(void *context, const struct flow *flow) {
  char more[128];
  (void)context;
  snprintf(more, sizeof more, "\"sentBytes\":%llu,\"receivedBytes\":%llu,\"ms\":%llu,", (unsigned long long)flow->sent,
           (unsigned long long)flow->received, (unsigned long long)(flow->seen_ms - flow->begun_ms));
  tell_flow("closed", flow, more);
}

void events_leaked(const char *secret, const struct address *address, uint16_t port, const char *name) {
  char text[EVENT_TEXT], own[ADDRESS_TEXT];
  if (!may_tell(&denials)) return;
  address_format(address, own);
  snprintf(text, sizeof text, "{\"event\":\"leaked\",\"at\":%llu,\"secret\":\"%s\",\"address\":\"%s\",\"port\":%u,\"domain\":\"%s\"}\n",
           wall_ms(), secret, own, port, name);
  tell(text);
}
