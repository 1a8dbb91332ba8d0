#define _GNU_SOURCE 1
#include "greeting.h"

#include <string.h>
#include <strings.h>

enum {
  TLS_RECORD = 5, TLS_RECORD_MAX = 16384, CLIENT_HELLO = 1, MESSAGE_HEAD = 4,
  SERVER_NAME = 0, HELLO_FIXED = 34, METHOD_MAX = 128,
};

/* Sets a name that `reads` takes, or looks whether it is the one that is there. */
static bool say(char name[NAME_TEXT], const char *text, size_t length, bool (*reads)(char *)) {
  char own[NAME_TEXT];
  if (length == 0 || length >= NAME_TEXT || text[0] == '*' || memchr(text, '\0', length) != NULL) return false;
  memcpy(own, text, length);
  own[length] = '\0';
  if (!reads(own)) return false;
  if (name[0] != '\0') return strcmp(name, own) == 0;
  strcpy(name, own);
  return true;
}

/* ---- TLS -------------------------------------------------------------------------------------------- */

struct part {
  const uint8_t *at;
  size_t left;
};

static bool take_number(struct part *from, size_t width, size_t *value) {
  if (from->left < width) return false;
  *value = 0;
  for (size_t i = 0; i < width; i++) *value = *value << 8 | from->at[i];
  from->at += width;
  from->left -= width;
  return true;
}

/* What is behind its length, of `width` bytes. */
static bool take_part(struct part *from, size_t width, struct part *part) {
  size_t length;
  if (!take_number(from, width, &length) || from->left < length) return false;
  *part = (struct part){from->at, length};
  from->at += length;
  from->left -= length;
  return true;
}

static bool read_server_name(struct part extension, char name[NAME_TEXT]) {
  struct part list, text;
  size_t kind;
  if (!take_part(&extension, 2, &list) || extension.left > 0) return false;
  if (!take_number(&list, 1, &kind) || kind != 0 || !take_part(&list, 2, &text) || list.left > 0) return false;
  return name[0] == '\0' && say(name, (const char *)text.at, text.left, name_pattern);
}

static enum greeting read_hello(struct part hello, char name[NAME_TEXT]) {
  struct part skipped, extensions, extension;
  size_t type;
  if (hello.left < HELLO_FIXED) return GREETING_BAD;
  hello.at += HELLO_FIXED;
  hello.left -= HELLO_FIXED;
  if (!take_part(&hello, 1, &skipped) || !take_part(&hello, 2, &skipped) || !take_part(&hello, 1, &skipped)) return GREETING_BAD;
  if (!take_part(&hello, 2, &extensions) || hello.left > 0) return GREETING_BAD;
  while (extensions.left > 0) {
    if (!take_number(&extensions, 2, &type) || !take_part(&extensions, 2, &extension)) return GREETING_BAD;
    if (type == SERVER_NAME && !read_server_name(extension, name)) return GREETING_BAD;
  }
  return name[0] == '\0' ? GREETING_BAD : GREETING_NAME;
}

/* The hello may be in several records. */
static enum greeting read_tls(struct part bytes, char name[NAME_TEXT]) {
  static uint8_t hello[GREETING_MAX];
  size_t have = 0, size = 0;
  while (bytes.left >= TLS_RECORD) {
    size_t length = (size_t)bytes.at[3] << 8 | bytes.at[4];
    if (bytes.at[0] != TLS_HANDSHAKE || bytes.at[1] != 3 || length == 0 || length > TLS_RECORD_MAX) return GREETING_BAD;
    size_t there = bytes.left - TLS_RECORD < length ? bytes.left - TLS_RECORD : length;
    memcpy(hello + have, bytes.at + TLS_RECORD, there);
    have += there;
    if (have > 0 && hello[0] != CLIENT_HELLO) return GREETING_BAD;
    if (have >= MESSAGE_HEAD) {
      size = (size_t)hello[1] << 16 | (size_t)hello[2] << 8 | hello[3];
      if (size > GREETING_MAX - MESSAGE_HEAD) return GREETING_BAD;
      if (have >= MESSAGE_HEAD + size) return read_hello((struct part){hello + MESSAGE_HEAD, size}, name);
    }
    bytes.at += TLS_RECORD + there;
    bytes.left -= TLS_RECORD + there;
  }
  return GREETING_MORE;
}

/* A hello as SSL 2 had them, which says no name, and which some servers take. */
static enum greeting read_old_hello(const uint8_t *bytes, size_t length) {
  if (bytes[0] < 0x80 || bytes[0] > 0xc0) return GREETING_OTHER; /* it is shorter than a record */
  if (length < 3) return GREETING_MORE;
  if (bytes[2] != CLIENT_HELLO) return GREETING_OTHER;
  if (length < 5) return GREETING_MORE;
  return bytes[3] == 3 || (bytes[3] == 0 && bytes[4] == 2) ? GREETING_BAD : GREETING_OTHER;
}

bool greeting_is_tls(const uint8_t *bytes, size_t length) {
  return length > 0 && (bytes[0] == TLS_HANDSHAKE || read_old_hello(bytes, length) == GREETING_BAD);
}

/* ---- HTTP ------------------------------------------------------------------------------------------- */

static bool is_letter(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

static bool is_token(char byte) {
  return is_letter(byte) || (byte >= '0' && byte <= '9') || (byte != '\0' && strchr("!#$%&'*+-.^_`|~", byte) != NULL);
}

/* What some servers take for a space, and skip before a request: Python's, for one, takes all of these. */
static bool is_blank(char byte) {
  return byte != '\0' && strchr("\t\n\v\f\r \x1c\x1d\x1e\x1f\x85\xa0", byte) != NULL;
}

/* HOST or HOST:PORT. */
static bool say_host(char name[NAME_TEXT], const char *text, size_t length) {
  const char *bracket = length > 0 && text[0] == '[' ? memchr(text, ']', length) : text;
  if (bracket == NULL) return false;
  const char *colon = memchr(bracket, ':', length - (size_t)(bracket - text));
  if (colon != NULL) {
    size_t digits = strspn(colon + 1, "0123456789"), behind = length - (size_t)(colon + 1 - text);
    if (digits < behind) return false;
    length = (size_t)(colon - text);
  }
  return say(name, text, length, name_or_address);
}

/* What is asked for may have a host of its own, which then counts before any header. */
static bool read_target(const char *target, size_t length, bool connects, char name[NAME_TEXT]) {
  if (connects) return say_host(name, target, length);
  if (target[0] == '/' || (length == 1 && target[0] == '*')) return true;
  const char *host = memmem(target, length, "://", 3);
  if (host == NULL) return false;
  host += 3;
  size_t left = length - (size_t)(host - target), size = 0;
  while (size < left && strchr("/?#", host[size]) == NULL) size++;
  return say_host(name, host, size);
}

/* A line of the head, without its end. */
static bool read_header(const char *line, size_t length, char name[NAME_TEXT]) {
  const char *colon = memchr(line, ':', length);
  if (colon == NULL || line[0] == ' ' || line[0] == '\t') return false;
  size_t title = (size_t)(colon - line);
  while (title > 0 && (line[title - 1] == ' ' || line[title - 1] == '\t')) title--;
  if (title != 4 || strncasecmp(line, "host", 4) != 0) return true;
  const char *value = colon + 1, *end = line + length;
  while (value < end && (*value == ' ' || *value == '\t')) value++;
  while (end > value && (end[-1] == ' ' || end[-1] == '\t')) end--;
  return say_host(name, value, (size_t)(end - value));
}

/* The next line, without its end; `*at` is behind it then. False: it isn't whole, or (NULL) isn't one. */
static bool next_line(const char *text, size_t length, size_t *at, const char **line, size_t *size) {
  const char *end = memchr(text + *at, '\n', length - *at);
  if (end == NULL) return false;
  *line = text + *at;
  *size = (size_t)(end - *line);
  *at += *size + 1;
  if (*size > 0 && (*line)[*size - 1] == '\r') --*size;
  /* Some take them for the end of a line, or of the text. */
  if (memchr(*line, '\r', *size) != NULL || memchr(*line, '\0', *size) != NULL) *line = NULL;
  return true;
}

static bool speaks_http(const char *line, size_t size) {
  for (size_t at = 0; at + 5 <= size; at++) {
    if (strncasecmp(line + at, "HTTP/", 5) == 0) return true;
  }
  return false;
}

/* Whether nothing follows what is asked for, which looks like HTTP's: `GET /`. */
static bool has_no_version(const char *line, size_t size, size_t method) {
  for (size_t i = 0; i < method; i++) {
    if ((line[i] < 'A' || line[i] > 'Z') && line[i] != '-') return false;
  }
  const char *target = line + method, *end = line + size;
  while (target < end && is_blank(*target)) target++;
  for (const char *at = target; at < end; at++) {
    if (is_blank(*at)) return false;
  }
  size_t left = (size_t)(end - target);
  return left > 0 && (target[0] == '/' || (left == 1 && target[0] == '*') || memmem(target, left, "://", 3) != NULL);
}

/* Whether a server may take it for HTTP. As that began it had no version, which some still answer. */
static bool may_be_http(const char *line, size_t size, size_t method) {
  bool gets = method == 3 && strncmp(line, "GET", 3) == 0;
  return gets || speaks_http(line, size) || has_no_version(line, size, method);
}

/* The first line: what is asked for how; GREETING_NAME means that it is HTTP/1, and the head may follow. */
static enum greeting read_request(const char *line, size_t size, size_t method, char name[NAME_TEXT]) {
  const char *version = memrchr(line, ' ', size);
  size_t behind = version == NULL ? 0 : size - (size_t)(version + 1 - line);
  if (behind != 8 || strncmp(version + 1, "HTTP/", 5) != 0) {
    return may_be_http(line, size, method) ? GREETING_BAD : GREETING_OTHER;
  }
  if (version[6] != '1') return GREETING_BAD; /* HTTP/2 packs its names */
  const char *target = line + method + 1;
  if (target >= version) return GREETING_BAD;
  for (const char *at = target; at < version; at++) {
    if ((*at >= '\0' && *at <= ' ') || *at == 127) return GREETING_BAD;
  }
  bool connects = method == 7 && strncmp(line, "CONNECT", 7) == 0;
  return read_target(target, (size_t)(version - target), connects, name) ? GREETING_NAME : GREETING_BAD;
}

/* A first line whose method has another space before or behind it than HTTP's: if a server may take it for
 * HTTP all the same, it hides its name. */
static enum greeting read_odd(const char *text, size_t length, size_t at, size_t method) {
  const char *end = memchr(text + at, '\n', length - at);
  if (!is_letter(text[at])) return GREETING_OTHER;
  if (end == NULL) return GREETING_MORE;
  return may_be_http(text + at, (size_t)(end - (text + at)), method) ? GREETING_BAD : GREETING_OTHER;
}

/* The method, whose length it is, and what is around it; GREETING_NAME means that HTTP may follow. */
static enum greeting read_method(const char *text, size_t length, size_t at, size_t *method) {
  size_t size = 0;
  while (at + size < length && size <= METHOD_MAX && is_token(text[at + size])) size++;
  *method = size;
  if (size > METHOD_MAX) return GREETING_BAD; /* a server may take it all the same */
  if (at + size == length) return GREETING_MORE;
  char behind = text[at + size];
  if (size == 0 || !is_blank(behind) || behind == '\n') return GREETING_OTHER;
  if (behind == '\r' && at + size + 1 == length) return GREETING_MORE;
  if (behind == '\r' && text[at + size + 1] == '\n') return GREETING_OTHER;
  size_t ends = strspn(text, "\r\n");
  return at == ends && behind == ' ' ? GREETING_NAME : read_odd(text, length, at, size);
}

static enum greeting read_http(const char *text, size_t length, char name[NAME_TEXT]) {
  const char *line;
  size_t at = 0, method, size;
  while (at < length && is_blank(text[at])) at++;
  enum greeting first = read_method(text, length, at, &method);
  if (first != GREETING_NAME) return first;
  if (!next_line(text, length, &at, &line, &size)) return GREETING_MORE;
  if (line == NULL) return GREETING_BAD;
  first = read_request(line, size, method, name);
  if (first != GREETING_NAME) return first;
  while (next_line(text, length, &at, &line, &size)) {
    if (line == NULL) return GREETING_BAD;
    if (size == 0) return name[0] == '\0' ? GREETING_BAD : GREETING_NAME;
    if (!read_header(line, size, name)) return GREETING_BAD;
  }
  return GREETING_MORE;
}

size_t greeting_head(const uint8_t *bytes, size_t length) {
  size_t at = 0;
  while (at < length && (bytes[at] == '\r' || bytes[at] == '\n')) at++;
  for (;;) {
    const uint8_t *end = memchr(bytes + at, '\n', length - at);
    if (end == NULL) return 0;
    size_t size = (size_t)(end - (bytes + at));
    bool empty = size == 0 || (size == 1 && bytes[at] == '\r');
    at += size + 1;
    if (empty) return at;
  }
}

enum greeting greeting_read(const uint8_t *bytes, size_t length, char name[NAME_TEXT]) {
  static char text[GREETING_MAX + 1];
  name[0] = '\0';
  if (length == 0) return GREETING_MORE;
  enum greeting greeting = read_old_hello(bytes, length);
  if (bytes[0] == TLS_HANDSHAKE) {
    greeting = read_tls((struct part){bytes, length}, name);
  } else if (greeting == GREETING_OTHER) {
    memcpy(text, bytes, length);
    text[length] = '\0'; /* for what reads up to an end */
    greeting = read_http(text, length, name);
  }
  if (greeting == GREETING_MORE && length >= GREETING_MAX) return GREETING_BAD;
  return greeting;
}

/* Servers take the end for that of a line too. */
enum greeting greeting_at_end(const uint8_t *bytes, size_t length) {
  static uint8_t line[GREETING_MAX];
  char name[NAME_TEXT];
  size_t blank = 0;
  while (blank < length && is_blank((char)bytes[blank])) blank++;
  if (blank == length) return GREETING_OTHER;
  if (length >= sizeof line) return GREETING_BAD;
  memcpy(line, bytes, length);
  line[length] = '\n';
  return greeting_read(line, length + 1, name) == GREETING_OTHER ? GREETING_OTHER : GREETING_BAD;
}
