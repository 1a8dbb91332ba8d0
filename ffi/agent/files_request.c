#include "files_request.h"

#include "cbor_in.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum key {
  KEY_ID, KEY_OP, KEY_PATH, KEY_TO, KEY_HANDLE, KEY_FLAGS, KEY_MODE, KEY_OFFSET, KEY_LENGTH, KEY_UID, KEY_GID,
  KEY_ATIME, KEY_MTIME, KEY_ATIME_NS, KEY_MTIME_NS, KEY_COUNT
};

static const char *const KEYS[KEY_COUNT] = {
  "id", "op", "path", "to", "handle", "flags", "mode", "offset", "length", "uid", "gid",
  "atime", "mtime", "atimeNs", "mtimeNs",
};

#define BIT(key) (1u << (key))

static const struct {
  const char *name;
  unsigned needs;  /* keys that must be there */
  bool by_handle;  /* takes `handle` where others take `path` */
  bool by_path;
} OPS[FILES_OP_COUNT] = {
  [FILES_OPEN] = {"open", BIT(KEY_FLAGS) | BIT(KEY_MODE), false, true},
  [FILES_LOAD] = {"load", 0, false, true},
  [FILES_STORE] = {"store", BIT(KEY_FLAGS) | BIT(KEY_MODE), false, true},
  [FILES_CLOSE] = {"close", 0, true, false},
  [FILES_READ] = {"read", BIT(KEY_LENGTH), true, false},
  [FILES_WRITE] = {"write", 0, true, false},
  [FILES_TRUNCATE] = {"truncate", BIT(KEY_LENGTH), true, true},
  [FILES_SYNC] = {"sync", BIT(KEY_FLAGS), true, false},
  [FILES_STAT] = {"stat", BIT(KEY_FLAGS), true, true},
  [FILES_LIST] = {"list", 0, true, true},
  [FILES_MKDIR] = {"mkdir", BIT(KEY_FLAGS) | BIT(KEY_MODE), false, true},
  [FILES_REMOVE] = {"remove", BIT(KEY_FLAGS), false, true},
  [FILES_RENAME] = {"rename", BIT(KEY_TO), false, true},
  [FILES_COPY] = {"copy", BIT(KEY_TO), false, true},
  [FILES_LINK] = {"link", BIT(KEY_TO), false, true},
  [FILES_SYMLINK] = {"symlink", BIT(KEY_TO), false, true},
  [FILES_READ_LINK] = {"readLink", 0, false, true},
  [FILES_REAL_PATH] = {"realPath", 0, false, true},
  [FILES_CHMOD] = {"chmod", BIT(KEY_MODE), true, true},
  [FILES_CHOWN] = {"chown", BIT(KEY_UID) | BIT(KEY_GID) | BIT(KEY_FLAGS), false, true},
  [FILES_UTIME] = {"utime", BIT(KEY_ATIME) | BIT(KEY_MTIME) | BIT(KEY_ATIME_NS) | BIT(KEY_MTIME_NS) | BIT(KEY_FLAGS),
                   true, true},
};

struct parser {
  struct cbor_in in;
  struct files_request *request;
  char *text; /* next free byte of request->text */
  unsigned seen;
};

/* The text area is as long as the head, and a string has a head of a byte, so there is room for its NUL. */
static int path(struct parser *parser, const char **value) {
  const uint8_t *bytes;
  size_t length;
  if (cbor_in_string(&parser->in, &bytes, &length) < 0) return -EBADMSG;
  if (length == 0 || memchr(bytes, 0, length) != NULL) return -EBADMSG;
  memcpy(parser->text, bytes, length);
  parser->text[length] = '\0';
  *value = parser->text;
  parser->text += length + 1;
  return 0;
}

static int number(struct parser *parser, uint64_t most, uint32_t *value) {
  uint64_t number;
  if (cbor_in_uint(&parser->in, &number) < 0 || number > most) return -EBADMSG;
  *value = (uint32_t)number;
  return 0;
}

static int whole(struct parser *parser, int64_t least, int64_t most, int64_t *value) {
  return cbor_in_int(&parser->in, value) < 0 || *value < least || *value > most ? -EBADMSG : 0;
}

static int op(struct parser *parser) {
  const uint8_t *name;
  size_t length;
  if (cbor_in_string(&parser->in, &name, &length) < 0) return -EBADMSG;
  for (int i = 0; i < FILES_OP_COUNT; i++) {
    if (strlen(OPS[i].name) != length || memcmp(OPS[i].name, name, length) != 0) continue;
    parser->request->op = (enum files_op)i;
    return 0;
  }
  return -EBADMSG;
}

static int value(struct parser *parser, enum key key) {
  struct files_request *request = parser->request;
  switch (key) {
    case KEY_ID: return number(parser, UINT32_MAX, &request->id);
    case KEY_OP: return op(parser);
    case KEY_PATH: return path(parser, &request->path);
    case KEY_TO: return path(parser, &request->to);
    case KEY_HANDLE: return number(parser, UINT32_MAX, &request->handle);
    case KEY_FLAGS: return number(parser, UINT32_MAX, &request->flags);
    case KEY_MODE: return number(parser, 07777, &request->mode);
    case KEY_OFFSET: return whole(parser, 0, INT64_MAX, &request->offset);
    case KEY_LENGTH: return whole(parser, 0, INT64_MAX, &request->length);
    case KEY_UID: return whole(parser, -1, UINT32_MAX - 1, &request->uid);
    case KEY_GID: return whole(parser, -1, UINT32_MAX - 1, &request->gid);
    case KEY_ATIME: return whole(parser, INT64_MIN, INT64_MAX, &request->atime);
    case KEY_MTIME: return whole(parser, INT64_MIN, INT64_MAX, &request->mtime);
    case KEY_ATIME_NS: return number(parser, 999999999, &request->atime_ns);
    case KEY_MTIME_NS: return number(parser, 999999999, &request->mtime_ns);
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

static int read_head(struct parser *parser, const char **why) {
  size_t pairs;
  *why = "the head isn't a CBOR map";
  if (cbor_in_map(&parser->in, &pairs) < 0) return -EBADMSG;
  for (size_t i = 0; i < pairs; i++) {
    const uint8_t *name;
    size_t length;
    *why = "a key isn't a text";
    if (cbor_in_string(&parser->in, &name, &length) < 0) return -EBADMSG;
    enum key key = key_of(name, length);
    *why = "a key is there twice";
    if (key != KEY_COUNT && parser->seen & BIT(key)) return -EBADMSG;
    parser->seen |= BIT(key);
    *why = key == KEY_COUNT ? "a value is malformed" : KEYS[key];
    if (value(parser, key) < 0) return -EBADMSG;
  }
  *why = "bytes follow the head's map";
  return parser->in.at == parser->in.end ? 0 : -EBADMSG;
}

static const char *check(const struct parser *parser) {
  const struct files_request *request = parser->request;
  if ((parser->seen & (BIT(KEY_ID) | BIT(KEY_OP))) != (BIT(KEY_ID) | BIT(KEY_OP))) return "id or op is missing";
  const bool by_handle = (parser->seen & BIT(KEY_HANDLE)) != 0, by_path = request->path != NULL;
  if ((parser->seen & OPS[request->op].needs) != OPS[request->op].needs) return "a key is missing";
  if (by_handle == by_path) return "neither path nor handle is there, or both are";
  if (by_handle ? !OPS[request->op].by_handle : !OPS[request->op].by_path) return "path or handle is for other operations";
  if (request->data_length > 0 && request->op != FILES_WRITE && request->op != FILES_STORE) return "data is there for nothing";
  if (request->op == FILES_READ && request->length > FILES_MAX_DATA) return "length is more than fits";
  return NULL;
}

int files_request_parse(const uint8_t *head, size_t head_length, const uint8_t *data, size_t data_length,
                        struct files_request *request, const char **why) {
  *request = (struct files_request){.data = data, .data_length = data_length};
  struct parser parser = {.in = {head, head + head_length}, .request = request};
  *why = "no memory for the request";
  request->text = malloc(head_length + 1);
  if (request->text == NULL) return -ENOMEM;
  parser.text = request->text;
  int error = read_head(&parser, why);
  if (error == 0) {
    *why = check(&parser);
    if (*why != NULL) error = -EBADMSG;
  }
  request->has_handle = (parser.seen & BIT(KEY_HANDLE)) != 0;
  request->has_offset = (parser.seen & BIT(KEY_OFFSET)) != 0;
  if (error < 0) files_request_free(request);
  return error;
}

void files_request_free(struct files_request *request) {
  free(request->text);
  request->text = NULL;
}
