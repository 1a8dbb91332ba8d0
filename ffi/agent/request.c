#include "request.h"

#include "cbor_in.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum key {
  KEY_OP, KEY_ARGV, KEY_ENV, KEY_CWD, KEY_USER, KEY_STDIN, KEY_HOSTNAME, KEY_GROW, KEY_GRACE,
  KEY_SIGNAL, KEY_COUNT
};

static const char *const KEYS[KEY_COUNT] = {
  "op", "argv", "env", "cwd", "user", "stdin", "hostname", "grow", "graceMs", "signal",
};

#define BIT(key) (1u << (key))

static const struct {
  const char *name;
  unsigned needs;
} OPS[] = {
  [REQUEST_EXEC] = {"exec", BIT(KEY_ARGV) | BIT(KEY_ENV) | BIT(KEY_CWD) | BIT(KEY_USER) | BIT(KEY_STDIN)},
  [REQUEST_CONFIGURE] = {"configure", BIT(KEY_HOSTNAME) | BIT(KEY_GROW)},
  [REQUEST_SHUTDOWN] = {"shutdown", BIT(KEY_GRACE)},
  [REQUEST_PING] = {"ping", 0},
};

struct parser {
  struct cbor_in in;
  struct request *request;
  char *text; /* next free byte of request->text */
  const char *op;
  unsigned seen;
  uint64_t grace_ms;
  uint64_t signal;
};

/* Copies a string with a NUL behind it. The text area is as long as the message, and a string in
 * CBOR has a head of a byte at least, so there is always room. NULL: not a string, or one with NUL. */
static char *string(struct parser *parser) {
  const uint8_t *bytes;
  size_t length;
  if (cbor_in_string(&parser->in, &bytes, &length) < 0) return NULL;
  if (memchr(bytes, 0, length) != NULL) return NULL;
  char *copy = parser->text;
  memcpy(copy, bytes, length);
  copy[length] = '\0';
  parser->text += length + 1;
  return copy;
}

static int strings(struct parser *parser, char ***list, size_t *count) {
  if (cbor_in_array(&parser->in, count) < 0) return -EBADMSG;
  *list = calloc(*count + 2, sizeof **list);
  if (*list == NULL) return -ENOMEM;
  for (size_t i = 0; i < *count; i++) {
    (*list)[i] = string(parser);
    if ((*list)[i] == NULL) return -EBADMSG;
  }
  return 0;
}

static int text(struct parser *parser, const char **value) {
  *value = string(parser);
  return *value == NULL ? -EBADMSG : 0;
}

static int value(struct parser *parser, enum key key) {
  struct request *request = parser->request;
  size_t ignored;
  switch (key) {
    case KEY_OP: return text(parser, &parser->op);
    case KEY_ARGV: return strings(parser, &request->argv, &ignored);
    case KEY_ENV: return strings(parser, &request->env, &request->env_count);
    case KEY_CWD: return text(parser, &request->cwd);
    case KEY_USER: return text(parser, &request->user);
    case KEY_STDIN: return cbor_in_bool(&parser->in, &request->has_stdin);
    case KEY_HOSTNAME: return text(parser, &request->hostname);
    case KEY_GROW: return cbor_in_bool(&parser->in, &request->grow);
    case KEY_GRACE: return cbor_in_uint(&parser->in, &parser->grace_ms);
    case KEY_SIGNAL: return cbor_in_uint(&parser->in, &parser->signal);
    case KEY_COUNT: break;
  }
  return cbor_in_skip(&parser->in);
}

static enum key key_of(const uint8_t *bytes, size_t length) {
  for (int i = 0; i < KEY_COUNT; i++) {
    if (strlen(KEYS[i]) == length && memcmp(KEYS[i], bytes, length) == 0) return (enum key)i;
  }
  return KEY_COUNT;
}

/* Reads the whole map; unknown keys are passed over, so that a newer host may say more. */
static int read_map(struct parser *parser, const char **why) {
  size_t pairs;
  *why = "the message isn't a CBOR map";
  if (cbor_in_map(&parser->in, &pairs) < 0) return -EBADMSG;
  for (size_t i = 0; i < pairs; i++) {
    const uint8_t *name;
    size_t length;
    *why = "a key of the message isn't a text";
    if (cbor_in_string(&parser->in, &name, &length) < 0) return -EBADMSG;
    enum key key = key_of(name, length);
    if (key != KEY_COUNT && parser->seen & BIT(key)) {
      *why = "a key of the message is there twice";
      return -EBADMSG;
    }
    parser->seen |= BIT(key);
    int error = value(parser, key);
    if (error == -ENOMEM) *why = "no memory for the message";
    else *why = key == KEY_COUNT ? "a value of the message is malformed" : KEYS[key];
    if (error < 0) return error;
  }
  *why = "bytes follow the message";
  return parser->in.at == parser->in.end ? 0 : -EBADMSG;
}

static const char *check_exec(const struct request *request) {
  if (request->argv[0] == NULL) return "argv is empty";
  if (request->cwd[0] != '/') return "cwd isn't an absolute path";
  for (char **entry = request->env; *entry != NULL; entry++) {
    if (**entry == '=' || strchr(*entry, '=') == NULL) return "an entry of env isn't NAME=value";
  }
  return NULL;
}

static const char *check_hostname(const char *name) {
  size_t length = strlen(name);
  if (length == 0 || length > REQUEST_MAX_HOSTNAME) return "hostname isn't 1 to 64 bytes long";
  /* It's written into files and compared with words there. */
  for (const char *at = name; *at != '\0'; at++) {
    if (*at <= ' ' || *at > '~' || *at == '#') return "hostname has a character that names can't have";
  }
  return NULL;
}

static const char *check(struct parser *parser) {
  struct request *request = parser->request;
  if (parser->op == NULL) return "op is missing";
  for (size_t i = REQUEST_EXEC; i < sizeof OPS / sizeof OPS[0]; i++) {
    if (strcmp(OPS[i].name, parser->op) != 0) continue;
    request->op = (enum request_op)i;
    if ((parser->seen & OPS[i].needs) != OPS[i].needs) return "a key of the request is missing";
    if (request->op == REQUEST_EXEC) return check_exec(request);
    if (request->op == REQUEST_CONFIGURE) return check_hostname(request->hostname);
    if (parser->grace_ms > REQUEST_MAX_GRACE_MS) return "graceMs is more than a day";
    request->grace_ms = (uint32_t)parser->grace_ms;
    return NULL;
  }
  return "op isn't one that this agent knows";
}

int request_parse(const uint8_t *bytes, size_t length, struct request *request, const char **why) {
  *request = (struct request){0};
  struct parser parser = {.in = {bytes, bytes + length}, .request = request};
  request->text = malloc(length + 1);
  *why = "no memory for the message";
  if (request->text == NULL) return -ENOMEM;
  parser.text = request->text;
  int error = read_map(&parser, why);
  if (error == 0) {
    *why = check(&parser);
    if (*why != NULL) error = -EBADMSG;
  }
  if (error < 0) request_free(request);
  return error;
}

void request_free(struct request *request) {
  free(request->argv);
  free(request->env);
  free(request->text);
  *request = (struct request){0};
}

int control_parse(const uint8_t *bytes, size_t length, int *signal, const char **why) {
  struct request request = {0};
  struct parser parser = {.in = {bytes, bytes + length}, .request = &request};
  request.text = malloc(length + 1);
  *why = "no memory for the message";
  if (request.text == NULL) return -ENOMEM;
  parser.text = request.text;
  int error = read_map(&parser, why);
  if (error == 0) {
    *why = NULL;
    if (parser.op == NULL || strcmp(parser.op, "signal") != 0) {
      *why = "op isn't one that this agent knows";
    } else if (!(parser.seen & BIT(KEY_SIGNAL)) || parser.signal < 1 || parser.signal > 64) {
      *why = "signal isn't a number from 1 to 64";
    }
    if (*why != NULL) error = -EBADMSG;
    *signal = (int)parser.signal;
  }
  request_free(&request);
  return error;
}
