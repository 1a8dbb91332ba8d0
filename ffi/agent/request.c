#include "request.h"

#include "cbor_in.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum key {
  KEY_OP, KEY_ARGV, KEY_ENV, KEY_CWD, KEY_USER, KEY_STDIN, KEY_HOSTNAME, KEY_GROW,
  KEY_MOUNTS, KEY_GRACE, KEY_SIGNAL, KEY_TAG, KEY_PATH, KEY_READ_ONLY,
  KEY_TIMEOUT, KEY_LIMITS, KEY_CAP_KEEP, KEY_CAP_GIVE, KEY_NO_NEW_PRIVILEGES,
  KEY_BUILTIN, KEY_TTY, KEY_INIT, KEY_ADDRESSES, KEY_GATEWAYS, KEY_MTU, KEY_HOSTS, KEY_RESOLV,
  KEY_NOEXEC, KEY_TMPFS, KEY_MODE, KEY_DISK, KEY_HELD, KEY_CLOCK, KEY_SEED, KEY_MAC,
  KEY_DISCARD, KEY_COUNT
};

static const char *const KEYS[KEY_COUNT] = {
  "op", "argv", "env", "cwd", "user", "stdin", "hostname", "grow",
  "mounts", "graceMs", "signal", "tag", "path", "readOnly",
  "timeoutMs", "rlimits", "capKeep", "capGive", "noNewPrivileges",
  "builtin", "tty", "init", "addresses", "gateways", "mtu", "hosts", "resolv",
  "noexec", "tmpfs", "mode", "disk", "held", "clockMs", "seed", "mac",
  "discard",
};

#define BIT(key) (UINT64_C(1) << (key))
_Static_assert(KEY_COUNT < 64, "unknown keys have a bit, too");

static const struct {
  const char *name;
  uint64_t needs;
} OPS[] = {
  [REQUEST_EXEC] = {"exec", BIT(KEY_ARGV) | BIT(KEY_ENV) | BIT(KEY_CWD) | BIT(KEY_USER) | BIT(KEY_STDIN)},
  [REQUEST_CONFIGURE] = {"configure", BIT(KEY_HOSTNAME) | BIT(KEY_GROW) | BIT(KEY_MOUNTS)},
  [REQUEST_SHUTDOWN] = {"shutdown", BIT(KEY_GRACE)},
  [REQUEST_PING] = {"ping", 0},
  [REQUEST_ADOPT] = {"adopt", BIT(KEY_HELD)},
  [REQUEST_RESUME] = {"resume", BIT(KEY_HOSTNAME) | BIT(KEY_CLOCK) | BIT(KEY_SEED)},
};

struct parser {
  struct cbor_in in;
  struct request *request;
  char *text; /* next free byte of request->text */
  const char *op;
  struct request_mount *mount; /* whose map is being read; NULL: the message's own */
  uint64_t seen;
  uint64_t timeout_ms;
  uint64_t grace_ms;
  uint64_t signal;
  uint64_t mtu;
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

static int read_map(struct parser *parser, const char **why);

/* What a mount is of shows in its keys: those of one kind, all of them, and none of another. */
static int mount_kind(struct request_mount *mount, uint64_t seen) {
  static const uint64_t KINDS[] = {
    [MOUNT_SHARE] = BIT(KEY_TAG),
    [MOUNT_TMPFS] = BIT(KEY_TMPFS) | BIT(KEY_MODE),
    [MOUNT_DISK] = BIT(KEY_DISK) | BIT(KEY_GROW),
  };
  const uint64_t all = BIT(KEY_TAG) | BIT(KEY_TMPFS) | BIT(KEY_MODE) | BIT(KEY_DISK) | BIT(KEY_GROW);
  const uint64_t needs = BIT(KEY_PATH) | BIT(KEY_READ_ONLY);
  if ((seen & needs) != needs) return -EBADMSG;
  for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
    mount->kind = (enum request_mount_kind)i;
    if ((seen & all) == KINDS[i]) return 0;
  }
  return -EBADMSG;
}

static int number(struct parser *parser, uint64_t least, uint64_t most, uint64_t *value) {
  return cbor_in_uint(&parser->in, value) == 0 && *value >= least && *value <= most ? 0 : -EBADMSG;
}

/* The maps in the list are read like the message's own. */
static int mounts(struct parser *parser) {
  struct request *request = parser->request;
  const uint64_t seen = parser->seen;
  size_t count;
  if (parser->mount != NULL || cbor_in_array(&parser->in, &count) < 0 || count > REQUEST_MAX_MOUNTS) return -EBADMSG;
  request->mounts = calloc(count + 1, sizeof *request->mounts);
  if (request->mounts == NULL) return -ENOMEM;
  for (; request->mount_count < count; request->mount_count++) {
    const char *why;
    parser->mount = &request->mounts[request->mount_count];
    parser->seen = 0;
    int error = read_map(parser, &why);
    if (error == 0) error = mount_kind(parser->mount, parser->seen);
    if (error < 0) return error;
  }
  parser->mount = NULL;
  parser->seen = seen;
  return 0;
}

static int mount_value(struct parser *parser, enum key key) {
  struct request_mount *mount = parser->mount;
  uint64_t n = 0;
  int error;
  switch (key) {
    case KEY_TAG: return text(parser, &mount->tag);
    case KEY_PATH: return text(parser, &mount->path);
    case KEY_READ_ONLY: return cbor_in_bool(&parser->in, &mount->read_only);
    case KEY_NOEXEC: return cbor_in_bool(&parser->in, &mount->noexec);
    case KEY_TMPFS:
      error = number(parser, 0, UINT32_MAX, &n);
      mount->size_mib = (uint32_t)n;
      return error;
    case KEY_MODE:
      error = number(parser, 0, REQUEST_MAX_MODE, &n);
      mount->mode = (uint16_t)n;
      return error;
    case KEY_DISK:
      error = number(parser, REQUEST_FIRST_DISK, REQUEST_MAX_DISK, &n);
      mount->disk = (uint8_t)n;
      return error;
    case KEY_GROW: return cbor_in_bool(&parser->in, &mount->grow);
    case KEY_COUNT: return cbor_in_skip(&parser->in);
    default: return -EBADMSG;
  }
}

/* A number, or null for no limit. */
static int limit(struct parser *parser, uint64_t *value) {
  *value = EXEC_LIMIT_NONE;
  if (cbor_in_null(&parser->in)) return 0;
  return cbor_in_uint(&parser->in, value) == 0 && *value < INT64_MAX ? 0 : -EBADMSG;
}

/* {name: [soft, hard], ...} */
static int limits(struct parser *parser) {
  struct request *request = parser->request;
  size_t count, items;
  uint64_t seen = 0;
  if (cbor_in_map(&parser->in, &count) < 0 || count > EXEC_LIMIT_COUNT) return -EBADMSG;
  for (; request->limit_count < count; request->limit_count++) {
    struct exec_limit *next = &request->limits[request->limit_count];
    const uint8_t *name;
    size_t length;
    if (cbor_in_string(&parser->in, &name, &length) < 0) return -EBADMSG;
    next->resource = exec_limit_resource(name, length);
    if (next->resource < 0 || seen & BIT(next->resource)) return -EBADMSG;
    seen |= BIT(next->resource);
    if (cbor_in_array(&parser->in, &items) < 0 || items != 2) return -EBADMSG;
    if (limit(parser, &next->soft) < 0 || limit(parser, &next->hard) < 0 || next->soft > next->hard) return -EBADMSG;
  }
  return 0;
}

/* [rows, columns], each from 1. */
static int size(struct parser *parser, struct request_size *size) {
  size_t items;
  uint64_t rows, columns;
  if (cbor_in_array(&parser->in, &items) < 0 || items != 2) return -EBADMSG;
  if (cbor_in_uint(&parser->in, &rows) < 0 || rows == 0 || rows > UINT16_MAX) return -EBADMSG;
  if (cbor_in_uint(&parser->in, &columns) < 0 || columns == 0 || columns > UINT16_MAX) return -EBADMSG;
  *size = (struct request_size){(uint16_t)rows, (uint16_t)columns};
  return 0;
}

static int value(struct parser *parser, enum key key) {
  struct request *request = parser->request;
  size_t ignored;
  if (parser->mount != NULL) return mount_value(parser, key);
  switch (key) {
    case KEY_OP: return text(parser, &parser->op);
    case KEY_ARGV: return strings(parser, &request->argv, &ignored);
    case KEY_ENV: return strings(parser, &request->env, &request->env_count);
    case KEY_CWD: return text(parser, &request->cwd);
    case KEY_USER: return text(parser, &request->user);
    case KEY_STDIN: return cbor_in_bool(&parser->in, &request->has_stdin);
    case KEY_HOSTNAME: return text(parser, &request->hostname);
    case KEY_GROW: return cbor_in_bool(&parser->in, &request->grow);
    case KEY_MOUNTS: return mounts(parser);
    case KEY_GRACE: return cbor_in_uint(&parser->in, &parser->grace_ms);
    case KEY_DISCARD: return cbor_in_bool(&parser->in, &request->discard);
    case KEY_TIMEOUT: return cbor_in_uint(&parser->in, &parser->timeout_ms);
    case KEY_LIMITS: return limits(parser);
    case KEY_CAP_KEEP: return cbor_in_uint(&parser->in, &request->caps.keep);
    case KEY_CAP_GIVE: return cbor_in_uint(&parser->in, &request->caps.give);
    case KEY_NO_NEW_PRIVILEGES: return cbor_in_bool(&parser->in, &request->no_new_privileges);
    case KEY_INIT: return cbor_in_bool(&parser->in, &request->init);
    case KEY_BUILTIN: return text(parser, &request->builtin);
    case KEY_ADDRESSES: return strings(parser, &request->addresses, &ignored);
    case KEY_GATEWAYS: return strings(parser, &request->gateways, &ignored);
    case KEY_MTU: return cbor_in_uint(&parser->in, &parser->mtu);
    case KEY_HOSTS: return strings(parser, &request->hosts, &ignored);
    case KEY_RESOLV: return text(parser, &request->resolv);
    case KEY_TTY: return size(parser, &request->tty);
    case KEY_HELD: return text(parser, &request->held);
    case KEY_CLOCK: return cbor_in_uint(&parser->in, &request->clock_ms);
    case KEY_SEED: return text(parser, &request->seed);
    case KEY_MAC: return text(parser, &request->mac);
    case KEY_SIGNAL: return cbor_in_uint(&parser->in, &parser->signal);
    case KEY_TAG: case KEY_PATH: case KEY_READ_ONLY: case KEY_NOEXEC: case KEY_TMPFS: case KEY_MODE: case KEY_DISK:
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
  return 0;
}

static int read_message(struct parser *parser, const char **why) {
  int error = read_map(parser, why);
  if (error < 0) return error;
  *why = "bytes follow the message";
  return parser->in.at == parser->in.end ? 0 : -EBADMSG;
}

/* "main", or as many hexadecimal digits as the host made up. */
static bool is_held(const char *id) {
  size_t length = strlen(id);
  return strcmp(id, "main") == 0 || (length > 0 && length <= REQUEST_MAX_HELD && strspn(id, "0123456789abcdef") == length);
}

static const char *check_exec(struct parser *parser) {
  struct request *request = parser->request;
  if (request->argv[0] == NULL) return "argv is empty";
  if (request->cwd[0] != '/') return "cwd isn't an absolute path";
  for (char **entry = request->env; *entry != NULL; entry++) {
    if (**entry == '=' || strchr(*entry, '=') == NULL) return "an entry of env isn't NAME=value";
  }
  if (parser->seen & BIT(KEY_TIMEOUT)) {
    if (!(parser->seen & BIT(KEY_GRACE))) return "timeoutMs is there without graceMs";
    if (parser->timeout_ms == 0 || parser->timeout_ms > REQUEST_MAX_TIMEOUT_MS) return "timeoutMs is out of range";
    request->timeout_ms = (uint32_t)parser->timeout_ms;
  }
  if (request->held != NULL && !is_held(request->held)) return "held isn't an id";
  request->caps.set = (parser->seen & BIT(KEY_CAP_KEEP)) != 0;
  if ((request->caps.give & ~request->caps.keep) != 0) return "capGive has more than capKeep";
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

static bool is_tag(const char *tag) {
  size_t length = strlen(tag);
  return length > 0 && length <= REQUEST_MAX_TAG && strspn(tag, "abcdefghijklmnopqrstuvwxyz0123456789") == length;
}

/* Absolute, something other than the root, and without "..". */
static bool is_place(const char *path) {
  if (*path != '/' || strlen(path) > REQUEST_MAX_PATH) return false;
  bool named = false;
  while (*(path += strspn(path, "/")) != '\0') {
    size_t length = strcspn(path, "/");
    if (length <= 2 && strncmp(path, "..", length) == 0) return false;
    named = true;
    path += length;
  }
  return named;
}

/* Its lines go into /etc/hosts. */
static bool is_line(const char *line) {
  size_t length = strlen(line);
  if (length == 0 || length > REQUEST_MAX_LINE) return false;
  for (const char *at = line; *at != '\0'; at++) {
    if ((*at < ' ' && *at != '\t') || *at > '~') return false;
  }
  return true;
}

static const char *check_configure(struct parser *parser) {
  struct request *request = parser->request;
  request->mtu = (uint32_t)parser->mtu;
  if (request->addresses != NULL && (parser->mtu < 1280 || parser->mtu > 65535)) return "mtu isn't from 1280 to 65535";
  for (char **line = request->hosts; line != NULL && *line != NULL; line++) {
    if (!is_line(*line)) return "a line of hosts isn't one";
  }
  for (size_t i = 0; i < request->mount_count; i++) {
    if (request->mounts[i].kind == MOUNT_SHARE && !is_tag(request->mounts[i].tag)) return "a mount's tag isn't one";
    if (!is_place(request->mounts[i].path)) return "a mount's path can't be mounted on";
  }
  return check_hostname(request->hostname);
}

static const char *check_resume(const struct request *request) {
  size_t length = strlen(request->seed);
  if (length == 0 || length > REQUEST_MAX_SEED) return "seed isn't 1 to 512 bytes long";
  if (request->clock_ms > UINT32_MAX * UINT64_C(1000)) return "clockMs is out of range";
  return check_hostname(request->hostname);
}

static const char *check(struct parser *parser) {
  struct request *request = parser->request;
  if (parser->op == NULL) return "op is missing";
  for (size_t i = REQUEST_EXEC; i < sizeof OPS / sizeof OPS[0]; i++) {
    if (strcmp(OPS[i].name, parser->op) != 0) continue;
    request->op = (enum request_op)i;
    if ((parser->seen & OPS[i].needs) != OPS[i].needs) return "a key of the request is missing";
    if (parser->grace_ms > REQUEST_MAX_GRACE_MS) return "graceMs is more than a day";
    request->grace_ms = (uint32_t)parser->grace_ms;
    if (request->op == REQUEST_EXEC) return check_exec(parser);
    if (request->op == REQUEST_CONFIGURE) return check_configure(parser);
    if (request->op == REQUEST_RESUME) return check_resume(request);
    if (request->op == REQUEST_ADOPT && !is_held(request->held)) return "held isn't an id";
    return NULL;
  }
  return "op isn't one that this agent knows";
}

int request_parse(const uint8_t *bytes, size_t length, struct request *request, const char **why) {
  *request = (struct request){.raw = bytes, .raw_length = length};
  struct parser parser = {.in = {bytes, bytes + length}, .request = request};
  request->text = malloc(length + 1);
  *why = "no memory for the message";
  if (request->text == NULL) return -ENOMEM;
  parser.text = request->text;
  int error = read_message(&parser, why);
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
  free(request->mounts);
  free(request->addresses);
  free(request->gateways);
  free(request->hosts);
  free(request->text);
  *request = (struct request){0};
}

static const char *check_control(const struct parser *parser, struct control *control) {
  *control = (struct control){0};
  if (parser->op != NULL && strcmp(parser->op, "signal") == 0) {
    control->signal = parser->signal > 64 ? 0 : (int)parser->signal;
    return control->signal == 0 ? "signal isn't a number from 1 to 64" : NULL;
  }
  if (parser->op != NULL && strcmp(parser->op, "resize") == 0) {
    control->size = parser->request->tty;
    return control->size.rows == 0 ? "tty isn't there" : NULL;
  }
  return "op isn't one that this agent knows";
}

int control_parse(const uint8_t *bytes, size_t length, struct control *control, const char **why) {
  struct request request = {0};
  struct parser parser = {.in = {bytes, bytes + length}, .request = &request};
  request.text = malloc(length + 1);
  *why = "no memory for the message";
  if (request.text == NULL) return -ENOMEM;
  parser.text = request.text;
  int error = read_message(&parser, why);
  if (error == 0) {
    *why = check_control(&parser, control);
    if (*why != NULL) error = -EBADMSG;
  }
  request_free(&request);
  return error;
}
