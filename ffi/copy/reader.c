/* Reads a tar as it comes, piece by piece, whoever wrote it: nothing here trusts a length or a name. */
#include "copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EXTENSION (1024u * 1024u)
#define MAX_SIZE ((uint64_t)INT64_MAX / 2)

/* Offsets of the fields. */
enum {
  NAME = 0, MODE = 100, UID = 108, GID = 116, SIZE = 124, MTIME = 136, TYPE = 156,
  LINK = 157, MAGIC = 257, MAJOR = 329, MINOR = 337, PREFIX = 345, STAR_TRAILER = 508
};

enum {
  HEADER, /* fills `block` */
  BODY,   /* collects an extension's body */
  BEGIN,  /* an entry was told of */
  DATA,
  SKIP,   /* drops bytes */
  ENDED   /* drops all that follows */
};

static int damaged(struct copy_reader *reader, const char *problem)
{
  return copy_fail(reader->failure, EBADMSG, "", "the archive is damaged: %s", problem);
}

void copy_reader_init(struct copy_reader *reader, struct copy_failure *failure)
{
  *reader = (struct copy_reader){.state = HEADER, .failure = failure};
}

void copy_reader_free(struct copy_reader *reader)
{
  free(reader->body);
  reader->body = NULL;
}

uint64_t copy_reader_left(const struct copy_reader *reader)
{
  return reader->state == DATA ? reader->left : 0;
}

void copy_reader_took(struct copy_reader *reader, uint64_t count)
{
  reader->left -= count;
}

bool copy_reader_whole(const struct copy_reader *reader)
{
  return reader->state == ENDED || (reader->state == HEADER && reader->fill == 0 && !reader->extended);
}

static void skip(struct copy_reader *reader, uint64_t bytes)
{
  reader->state = bytes == 0 ? HEADER : SKIP;
  reader->left = bytes;
  reader->fill = 0;
}

/* A name, which must be one that a file can have. */
static int set_name(struct copy_reader *reader, char *name, struct text value)
{
  if (value.length >= COPY_MAX_PATH) return damaged(reader, "a name in it is too long");
  if (value.length > 0 && memchr(value.bytes, 0, value.length) != NULL)
    return damaged(reader, "a name in it has a zero byte");
  if (value.length > 0) memcpy(name, value.bytes, value.length);
  name[value.length] = '\0';
  return 0;
}

static int number_record(struct copy_reader *reader, struct text value, uint64_t *number, bool *set)
{
  *set = value.length > 0; /* an empty value takes the header back */
  if (*set && !text_to_number(value, number)) return damaged(reader, "a pax header isn't a number");
  return 0;
}

static int name_record(struct copy_reader *reader, struct text value, char *name, bool *set)
{
  *set = value.length > 0;
  return set_name(reader, name, value);
}

static int record(struct copy_reader *reader, struct text key, struct text value)
{
  if (text_is(key, "path")) return name_record(reader, value, reader->path, &reader->has_path);
  if (text_is(key, "linkpath")) return name_record(reader, value, reader->link, &reader->has_link);
  if (text_is(key, "size")) return number_record(reader, value, &reader->size, &reader->has_size);
  if (text_is(key, "uid")) return number_record(reader, value, &reader->uid, &reader->has_uid);
  if (text_is(key, "gid")) return number_record(reader, value, &reader->gid, &reader->has_gid);
  if (text_is(key, "mtime")) {
    reader->has_time = value.length > 0;
    if (reader->has_time && !text_to_time(value, &reader->seconds, &reader->nanos))
      return damaged(reader, "a modification time isn't a number");
    return 0;
  }
  if (key.length > 11 && memcmp(key.bytes, "GNU.sparse.", 11) == 0)
    return copy_fail(reader->failure, EOPNOTSUPP, "", "the archive has sparse files: make it without --sparse");
  return 0;
}

static int pax_records(struct copy_reader *reader, struct text body)
{
  while (body.length > 0) {
    const char *space = memchr(body.bytes, ' ', body.length);
    uint64_t length;
    if (space == NULL || !text_to_number((struct text){body.bytes, (size_t)(space - body.bytes)}, &length))
      return damaged(reader, "a pax header has no length");
    size_t begin = (size_t)(space - body.bytes) + 1;
    if (length > body.length || length < begin + 2 || body.bytes[length - 1] != '\n')
      return damaged(reader, "a pax header's length is wrong");
    const char *equals = memchr(body.bytes + begin, '=', length - 1 - begin);
    if (equals == NULL) return damaged(reader, "a pax header has no value");
    struct text key = {body.bytes + begin, (size_t)(equals - body.bytes) - begin};
    struct text value = {equals + 1, (size_t)(body.bytes + length - 1 - (equals + 1))};
    int result = record(reader, key, value);
    if (result < 0) return result;
    body = (struct text){body.bytes + length, body.length - length};
  }
  return 0;
}

static int begin_extension(struct copy_reader *reader, char kind)
{
  int64_t size;
  if (!header_number(reader->block + SIZE, 12, &size) || size < 0 || (uint64_t)size > MAX_SIZE)
    return damaged(reader, "an extension's size is no valid number");
  uint64_t padded = ((uint64_t)size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
  if (kind == 'g' || kind == 'V') { /* about no file */
    skip(reader, padded);
    return 0;
  }
  if (size > MAX_EXTENSION) return damaged(reader, "an extension is over 1 MiB");
  free(reader->body);
  reader->body = malloc((size_t)size + 1);
  if (reader->body == NULL) return copy_fail(reader->failure, ENOMEM, "", "no memory for a header");
  reader->kind = kind;
  reader->extended = true;
  reader->body_fill = 0;
  reader->left = (uint64_t)size;
  reader->padding = padded - (uint64_t)size;
  reader->state = BODY;
  return 0;
}

static int end_extension(struct copy_reader *reader)
{
  struct text body = {reader->body, reader->body_fill};
  int result;
  if (reader->kind == 'x' || reader->kind == 'X') {
    result = pax_records(reader, body);
  } else {
    const char *end = body.length == 0 ? NULL : memchr(body.bytes, 0, body.length);
    if (end != NULL) body.length = (size_t)(end - body.bytes);
    result = reader->kind == 'L' ? name_record(reader, body, reader->path, &reader->has_path)
                                 : name_record(reader, body, reader->link, &reader->has_link);
  }
  copy_reader_free(reader);
  skip(reader, reader->padding);
  return result;
}

static size_t field_length(const uint8_t *field, size_t size)
{
  const uint8_t *end = memchr(field, 0, size);
  return end == NULL ? size : (size_t)(end - field);
}

/* The names that no extension gave. */
static void header_names(struct copy_reader *reader)
{
  const uint8_t *block = reader->block;
  if (!reader->has_path) {
    size_t at = 0;
    if (memcmp(block + MAGIC, "ustar\0", 6) == 0) {
      bool star = memcmp(block + STAR_TRAILER, "tar\0", 4) == 0;
      at = field_length(block + PREFIX, star ? 131 : 155);
      memcpy(reader->path, block + PREFIX, at);
      if (at > 0) reader->path[at++] = '/';
    }
    size_t length = field_length(block + NAME, 100);
    memcpy(reader->path + at, block + NAME, length);
    reader->path[at + length] = '\0';
  }
  if (!reader->has_link) {
    size_t length = field_length(block + LINK, 100);
    memcpy(reader->link, block + LINK, length);
    reader->link[length] = '\0';
  }
}

static int entry_type(struct copy_reader *reader, char *type)
{
  size_t length = strlen(reader->path);
  *type = (char)reader->block[TYPE];
  if (*type == 'S')
    return copy_fail(reader->failure, EOPNOTSUPP, reader->path, "the archive has a sparse file: make it without --sparse");
  if (*type == 0 || *type == '7') *type = '0';
  /* Old writers mark a folder by its name's last slash alone. */
  if (*type == '0' && length > 0 && reader->path[length - 1] == '/') *type = '5';
  if (*type >= '0' && *type <= '6') return 0;
  return copy_fail(reader->failure, EOPNOTSUPP, reader->path, "the archive has an entry of unknown kind");
}

static int owner_field(struct copy_reader *reader, size_t at, bool given, uint64_t value, uint32_t *id)
{
  int64_t number;
  if (!given) {
    if (!header_number(reader->block + at, 8, &number) || number < 0)
      return damaged(reader, "an owner is no valid number");
    value = (uint64_t)number;
  }
  if (value >= UINT32_MAX) return damaged(reader, "an owner's number is too large");
  *id = (uint32_t)value;
  return 0;
}

static int device_fields(struct copy_reader *reader, struct copy_entry *entry)
{
  int64_t major, minor;
  if (entry->type != '3' && entry->type != '4') return 0;
  if (!header_number(reader->block + MAJOR, 8, &major) || !header_number(reader->block + MINOR, 8, &minor) ||
      major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff)
    return damaged(reader, "a device's number is out of range");
  entry->major = (uint32_t)major;
  entry->minor = (uint32_t)minor;
  return 0;
}

static int begin_entry(struct copy_reader *reader)
{
  struct copy_entry *entry = &reader->entry;
  int64_t mode, size = 0, seconds = reader->seconds;
  header_names(reader);
  *entry = (struct copy_entry){.path = reader->path, .link = reader->link};
  int result = entry_type(reader, &entry->type);
  if (result < 0) return result;
  if (!header_number(reader->block + MODE, 8, &mode)) return damaged(reader, "a mode is no valid number");
  if (!reader->has_time && !header_number(reader->block + MTIME, 12, &seconds))
    return damaged(reader, "a modification time is no valid number");
  if (!reader->has_size && (!header_number(reader->block + SIZE, 12, &size) || size < 0))
    return damaged(reader, "a size is no valid number");
  entry->size = entry->type != '0' ? 0 : reader->has_size ? reader->size : (uint64_t)size;
  if (entry->size > MAX_SIZE) return damaged(reader, "a size is out of range");
  entry->mode = (uint32_t)mode & 07777;
  entry->seconds = seconds;
  entry->nanos = reader->has_time ? reader->nanos : 0;
  result = owner_field(reader, UID, reader->has_uid, reader->uid, &entry->uid);
  if (result == 0) result = owner_field(reader, GID, reader->has_gid, reader->gid, &entry->gid);
  if (result == 0) result = device_fields(reader, entry);
  if (result < 0) return result;
  reader->left = entry->size;
  reader->padding = (TAR_BLOCK - entry->size % TAR_BLOCK) % TAR_BLOCK;
  reader->state = BEGIN;
  reader->extended = reader->has_path = reader->has_link = false;
  reader->has_size = reader->has_uid = reader->has_gid = reader->has_time = false;
  return COPY_ENTRY;
}

static int take_header(struct copy_reader *reader)
{
  reader->fill = 0;
  if (header_is_zero(reader->block)) {
    if (reader->extended) return damaged(reader, "it ends behind an extension");
    if (reader->zero_block) reader->state = ENDED;
    reader->zero_block = true;
    return COPY_MORE;
  }
  if (reader->zero_block || !header_checksum_fits(reader->block))
    return copy_fail(reader->failure, EBADMSG, "", "it is no tar archive, or a damaged or compressed one");
  char kind = (char)reader->block[TYPE];
  if (kind != 0 && strchr("LKxXgV", kind) != NULL) return begin_extension(reader, kind);
  return begin_entry(reader);
}

/* Takes bytes in one state; *used may be 0 where a state needs none. */
static int step(struct copy_reader *reader, const uint8_t *bytes, size_t length, size_t *used)
{
  uint64_t wanted = reader->state == HEADER ? TAR_BLOCK - reader->fill : reader->state == ENDED ? length : reader->left;
  size_t part = wanted < length ? (size_t)wanted : length;
  *used = 0;
  if (reader->state == BEGIN) {
    reader->state = DATA;
    return COPY_MORE;
  }
  if (reader->state == DATA && reader->left == 0) {
    skip(reader, reader->padding);
    return COPY_END;
  }
  *used = part;
  switch (reader->state) {
    case HEADER:
      if (part > 0) memcpy(reader->block + reader->fill, bytes, part);
      reader->fill += part;
      return reader->fill == TAR_BLOCK ? take_header(reader) : COPY_MORE;
    case BODY:
      if (part > 0) memcpy(reader->body + reader->body_fill, bytes, part);
      reader->body_fill += part;
      reader->left -= part;
      return reader->left == 0 ? end_extension(reader) : COPY_MORE;
    case DATA:
      reader->data = bytes;
      reader->data_length = part;
      reader->left -= part;
      return part > 0 ? COPY_DATA : COPY_MORE;
    case SKIP:
      reader->left -= part;
      if (reader->left == 0) reader->state = HEADER;
      return COPY_MORE;
    default: return COPY_MORE;
  }
}

/* States that end by themselves. */
static bool goes_on(const struct copy_reader *reader)
{
  return reader->state == BEGIN || (reader->left == 0 && (reader->state == DATA || reader->state == BODY));
}

int copy_reader_step(struct copy_reader *reader, const uint8_t *bytes, size_t length, size_t *used)
{
  *used = 0;
  do {
    size_t part;
    int event = step(reader, bytes + *used, length - *used, &part);
    *used += part;
    if (event != COPY_MORE) return event;
  } while (*used < length || goes_on(reader));
  return COPY_MORE;
}
