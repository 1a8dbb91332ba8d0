#define _GNU_SOURCE 1
#include "look.h"

#include "greeting.h"
#include "hooks.h"
#include "intercept.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { GREETING_MS = 15000 };

/* ---- the first bytes ---------------------------------------------------------------------------------- */

static void deny(const struct gated *gated, const struct denial *why) {
  struct denial denial = *why;
  denial.key = &gated->key;
  denial.group = filter_group(gated->filter, &gated->key.remote, now_ms());
  filter_denied(gated->filter, &denial);
}

void look_denied(const struct gated *gated) {
  deny(gated, &(struct denial){.rule = filter_decide(gated->filter, &gated->key, "", now_ms()).rule});
}

/* The server's place is taken, and what waits for it gets a line before it. */
static bool intercept(struct gated *gated, bool tls, const char *name) {
  struct side *server = &gated->server;
  if (server->shut) return false; /* it has come and gone before the guest said anything */
  char line[NAME_TEXT + ADDRESS_TEXT + HOOK_WORD + 32];
  if (!intercept_line(&gated->to, gated->to_port, tls, name, line, sizeof line)) {
    deny(gated, &(struct denial){.rule = -1, .name = name, .hook = HOOKS_GONE.permit.hook});
    return false;
  }
  struct side lined = {0};
  bool kept = side_keep(&lined, (const uint8_t *)line, strlen(line)) &&
              side_keep(&lined, server->rest + server->start, server->length);
  int fd = kept ? intercept_dial() : -1;
  if (fd < 0) {
    free(lined.rest);
    return false;
  }
  free(server->rest);
  server->rest = lined.rest;
  server->start = 0;
  server->length = lined.length;
  server->connected = false;
  server->ended = false;
  gate_set_server(gated, fd);
  return true;
}

/* ---- requests after the first ------------------------------------------------------------------------- */

static bool may_ask(void *context, const char *name) {
  const struct gated *gated = context;
  struct decision decision = filter_decide(gated->filter, &gated->key, name, now_ms());
  if (!decision.allow) deny(gated, &(struct denial){.rule = decision.rule, .name = name});
  return decision.allow;
}

static bool is_fine(const struct gated *gated, enum request_verdict verdict) {
  if (verdict == REQUESTS_BAD) look_denied(gated);
  return verdict == REQUESTS_FINE;
}

/* The first bytes are looked at again, with what follows them. */
static bool take_requests(struct gated *gated) {
  struct side first = gated->server;
  gated->asks = true;
  gated->requests = (struct requests){.may = may_ask, .context = gated};
  gated->server.rest = NULL;
  gated->server.start = gated->server.length = 0;
  bool fine = is_fine(gated, requests_take(&gated->requests, first.rest + first.start, first.length, &gated->server));
  free(first.rest);
  return fine;
}

bool look_requests(struct gated *gated) {
  static uint8_t piece[64 * 1024];
  ssize_t got = recv(gated->guest.watch.fd, piece, sizeof piece, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) gated->guest.ended = true;
  if (!is_fine(gated, requests_take(&gated->requests, piece, (size_t)got, &gated->server))) return false;
  return side_flush(&gated->server);
}

bool look_answers(const struct gated *gated) {
  return gated->asks && gated->requests.state == REQUEST_ANSWER;
}

bool look_answer(struct gated *gated) {
  static uint8_t piece[64 * 1024];
  struct side *guest = &gated->guest, *server = &gated->server;
  ssize_t got = recv(server->watch.fd, piece, sizeof piece, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) server->ended = true;
  if (!is_fine(gated, requests_answered(&gated->requests, piece, (size_t)got, server))) return false;
  return side_keep(guest, piece, (size_t)got) && side_flush(guest) && side_flush(server);
}

/* ---- looking ------------------------------------------------------------------------------------------ */

/* What the first bytes are; GREETING_MORE: not yet, and there is time. */
static enum greeting read_first(struct gated *gated, char name[NAME_TEXT]) {
  const struct side *server = &gated->server;
  enum greeting greeting = greeting_read(server->rest + server->start, server->length, name);
  if (greeting != GREETING_MORE) return greeting;
  if (gated->guest.ended) return greeting_at_end(server->rest + server->start, server->length);
  if (gated->until_ms == 0) gated->until_ms = now_ms() + GREETING_MS;
  return greeting;
}

/* Whether they may go on, by the rules and for the hooks. */
static bool may_go_on(const struct gated *gated, enum greeting greeting, const char *name, bool *by_name) {
  const struct side *server = &gated->server;
  const char *said = greeting == GREETING_OTHER ? NULL : greeting == GREETING_BAD ? "" : name;
  struct decision decision = filter_decide(gated->filter, &gated->key, said, now_ms());
  *by_name = decision.by_name;
  bool misses = false;
  if (greeting != GREETING_NAME && server->length > 0) {
    bool tls = greeting_is_tls(server->rest + server->start, server->length);
    misses = intercept_misses(gated->filter, &gated->key, tls, greeting == GREETING_BAD);
  }
  if (decision.allow && !misses) return true;
  int rule = decision.allow ? -1 : decision.rule;
  deny(gated, &(struct denial){.rule = rule, .name = greeting == GREETING_NAME ? name : NULL});
  return false;
}

static bool look(struct gated *gated) {
  char name[NAME_TEXT];
  bool by_name;
  struct side *server = &gated->server;
  enum greeting greeting = read_first(gated, name);
  if (greeting == GREETING_MORE) return true;
  if (!may_go_on(gated, greeting, name, &by_name)) return false;
  gated->open = true;
  bool tls = greeting_is_tls(server->rest + server->start, server->length);
  bool named = greeting == GREETING_NAME;
  if (named && intercept_wants(gated->filter, &gated->key, tls, name)) return intercept(gated, tls, name);
  if (named && by_name && !tls && !take_requests(gated)) return false;
  if (server->watch.fd >= 0 || server->shut) return side_flush(server);
  int fd = gate_dial(&gated->to, gated->to_port);
  if (fd >= 0) gate_set_server(gated, fd);
  return fd >= 0;
}

/* They wait in the server's rest, where nothing sends them. */
bool look_first(struct gated *gated) {
  uint8_t bytes[4096];
  size_t room = GREETING_MAX - gated->server.length;
  ssize_t got = recv(gated->guest.watch.fd, bytes, room < sizeof bytes ? room : sizeof bytes, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) gated->guest.ended = true;
  return side_keep(&gated->server, bytes, (size_t)got) && look(gated);
}
