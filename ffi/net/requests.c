#define _GNU_SOURCE 1
#include "requests.h"

#include "greeting.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LINE_MAX_BYTES = 4096 };

/* Keeps what isn't whole yet. False: it is too much. */
static bool hold(struct requests *requests, const uint8_t *bytes, size_t length) {
  if (requests->length + length > GREETING_MAX) return false;
  uint8_t *more = realloc(requests->held, requests->length + length + 1);
  if (more == NULL) return false;
  memcpy(more + requests->length, bytes, length);
  requests->held = more;
  requests->length += length;
  return true;
}

/* ---- heads -------------------------------------------------------------------------------------------- */

struct framing {
  bool sized, chunked, upgrades, sockets;
  uint64_t size;
};

static bool is_word(const char *text, size_t length, const char *word) {
  return length == strlen(word) && strncasecmp(text, word, length) == 0;
}

static bool read_size(const char *text, size_t length, uint64_t *size) {
  *size = 0;
  for (size_t i = 0; i < length; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    *size = *size * 10 + (uint64_t)(text[i] - '0');
  }
  return length > 0 && length <= 18;
}

/* One header, as far as it says how long the request is. False: there is a doubt. */
static bool read_header(const char *line, size_t length, struct framing *framing) {
  const char *colon = memchr(line, ':', length), *end = line + length;
  if (colon == NULL) return false;
  size_t name = (size_t)(colon - line);
  if (name == 0 || line[name - 1] == ' ' || line[name - 1] == '\t') return false;
  const char *value = colon + 1;
  while (value < end && (*value == ' ' || *value == '\t')) value++;
  while (end > value && (end[-1] == ' ' || end[-1] == '\t')) end--;
  size_t size = (size_t)(end - value);
  if (is_word(line, name, "content-length")) {
    if (framing->sized || !read_size(value, size, &framing->size)) return false;
    framing->sized = true;
  } else if (is_word(line, name, "transfer-encoding")) {
    if (framing->chunked || !is_word(value, size, "chunked")) return false;
    framing->chunked = true;
  } else if (is_word(line, name, "upgrade")) {
    framing->sockets = !framing->upgrades && is_word(value, size, "websocket");
    framing->upgrades = true;
  }
  return true;
}

/* `head` is one that greeting_read has taken for good. */
static bool read_framing(const char *head, size_t length, struct framing *framing, bool *old, bool *connects) {
  size_t at = strspn(head, "\r\n");
  for (bool first = true;; first = false) {
    const char *line = head + at, *end = memchr(line, '\n', length - at);
    if (end == NULL) return false;
    size_t size = (size_t)(end - line);
    at += size + 1;
    if (size > 0 && line[size - 1] == '\r') size--;
    if (first) {
      *connects = size > 8 && strncmp(line, "CONNECT ", 8) == 0;
      *old = size > 8 && strncmp(line + size - 8, "HTTP/1.1", 8) != 0;
    } else if (size == 0) {
      return !(framing->sized && framing->chunked);
    } else if (!read_header(line, size, framing)) {
      return false;
    }
  }
}

static enum request_verdict begin(struct requests *requests, size_t head, struct side *to) {
  char name[NAME_TEXT];
  struct framing framing = {0};
  bool old = false, connects = false;
  if (greeting_read(requests->held, head, name) != GREETING_NAME) return REQUESTS_BAD;
  if (!requests->may(requests->context, name)) return REQUESTS_REFUSED;
  requests->held[requests->length] = '\0';
  if (!read_framing((const char *)requests->held, head, &framing, &old, &connects)) return REQUESTS_BAD;
  bool asks = connects || framing.upgrades, body = framing.chunked || framing.size > 0;
  /* After another request nobody could tell whose answer comes. */
  if ((old && framing.chunked) || (asks && (requests->later || body))) return REQUESTS_BAD;
  requests->later = true;
  requests->tunnels = connects;
  requests->sockets = framing.sockets;
  requests->left = framing.size;
  requests->state = asks ? REQUEST_ANSWER : framing.chunked ? REQUEST_CHUNK_SIZE : body ? REQUEST_BODY : REQUEST_HEAD;
  if (!side_keep(to, requests->held, head)) return REQUESTS_BAD;
  return REQUESTS_FINE;
}

/* ---- bodies ------------------------------------------------------------------------------------------- */

static int hex(uint8_t byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  byte |= 0x20;
  return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static bool read_chunk_size(const uint8_t *line, size_t length, uint64_t *size) {
  size_t at = 0;
  *size = 0;
  for (; at < length && hex(line[at]) >= 0; at++) *size = *size << 4 | (uint64_t)hex(line[at]);
  if (at == 0 || at > 14) return false;
  while (at < length && (line[at] == ' ' || line[at] == '\t')) at++;
  return at == length || line[at] == ';';
}

/* A line that is held whole, with its end. */
static enum request_verdict take_line(struct requests *requests, size_t length, struct side *to) {
  const uint8_t *line = requests->held;
  if (length < 2 || line[length - 2] != '\r' || memchr(line, '\r', length - 2) != NULL) return REQUESTS_BAD;
  size_t size = length - 2;
  switch (requests->state) {
    case REQUEST_CHUNK_SIZE:
      if (!read_chunk_size(line, size, &requests->left)) return REQUESTS_BAD;
      requests->state = requests->left > 0 ? REQUEST_CHUNK : REQUEST_TRAILERS;
      break;
    case REQUEST_CHUNK_END:
      if (size > 0) return REQUESTS_BAD;
      requests->state = REQUEST_CHUNK_SIZE;
      break;
    default:
      if (size == 0) requests->state = REQUEST_HEAD;
  }
  return side_keep(to, line, length) ? REQUESTS_FINE : REQUESTS_BAD;
}

/* ---- all of it ---------------------------------------------------------------------------------------- */

/* How much of what is held is whole: a head, or a line; 0: nothing is. */
static size_t whole(const struct requests *requests) {
  if (requests->length == 0) return 0;
  if (requests->state == REQUEST_HEAD) return greeting_head(requests->held, requests->length);
  const uint8_t *end = memchr(requests->held, '\n', requests->length);
  return end == NULL ? 0 : (size_t)(end - requests->held) + 1;
}

/* Goes on with what is held: all but the rest that isn't whole. */
static enum request_verdict go_on(struct requests *requests, struct side *to) {
  for (;;) {
    size_t used = 0;
    enum request_verdict verdict = REQUESTS_FINE;
    if (requests->state == REQUEST_ANSWER || requests->length == 0) return REQUESTS_FINE;
    if (requests->state == REQUEST_RAW || requests->state == REQUEST_BODY || requests->state == REQUEST_CHUNK) {
      bool raw = requests->state == REQUEST_RAW;
      used = raw || requests->left > requests->length ? requests->length : (size_t)requests->left;
      if (!side_keep(to, requests->held, used)) return REQUESTS_BAD;
      if (!raw) requests->left -= used;
      if (!raw && requests->left == 0) requests->state = requests->state == REQUEST_BODY ? REQUEST_HEAD : REQUEST_CHUNK_END;
    } else {
      bool head = requests->state == REQUEST_HEAD;
      used = whole(requests);
      if (used == 0) return !head && requests->length > LINE_MAX_BYTES ? REQUESTS_BAD : REQUESTS_FINE;
      verdict = head ? begin(requests, used, to) : take_line(requests, used, to);
    }
    if (verdict != REQUESTS_FINE) return verdict;
    memmove(requests->held, requests->held + used, requests->length - used);
    requests->length -= used;
  }
}

enum request_verdict requests_take(struct requests *requests, const uint8_t *bytes, size_t length, struct side *to) {
  while (length > 0) {
    size_t part = length;
    bool flows = requests->state == REQUEST_RAW || requests->state == REQUEST_BODY || requests->state == REQUEST_CHUNK;
    if (flows && requests->length == 0) {
      if (requests->state != REQUEST_RAW && requests->left < part) part = (size_t)requests->left;
      if (!side_keep(to, bytes, part)) return REQUESTS_BAD;
      if (requests->state != REQUEST_RAW) requests->left -= part;
      if (requests->left == 0 && requests->state == REQUEST_BODY) requests->state = REQUEST_HEAD;
      if (requests->left == 0 && requests->state == REQUEST_CHUNK) requests->state = REQUEST_CHUNK_END;
    } else {
      size_t room = GREETING_MAX - requests->length;
      if (part > room) part = room;
      if (part == 0 || !hold(requests, bytes, part)) return REQUESTS_BAD;
      enum request_verdict verdict = go_on(requests, to);
      if (verdict != REQUESTS_FINE) return verdict;
    }
    bytes += part;
    length -= part;
  }
  if (requests->length == 0) requests_free(requests);
  return REQUESTS_FINE;
}

enum request_verdict requests_answered(struct requests *requests, const uint8_t *bytes, size_t length, struct side *to) {
  enum answer_kind kind = answer_read(&requests->answer, bytes, length);
  if (kind == ANSWER_MORE) return REQUESTS_FINE;
  bool switches = kind == ANSWER_SWITCHES, tunnels = kind == ANSWER_SUCCESS && requests->tunnels;
  if (switches && !requests->sockets) return REQUESTS_BAD; /* HTTP/2, say, which hides its names */
  requests->state = switches || tunnels ? REQUEST_RAW : REQUEST_HEAD;
  return go_on(requests, to);
}

void requests_free(struct requests *requests) {
  free(requests->held);
  requests->held = NULL;
  requests->length = 0;
}
