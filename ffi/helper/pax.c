/* What pax headers say about the entry behind them. */
#include "layer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int string_set(struct hutch_ext4 *fs, struct string *string, struct text value)
{
  string_free(string);
  string->bytes = malloc(value.length + 1);
  if (string->bytes == NULL) return image_error(fs, -ENOMEM, "out of memory");
  if (value.length > 0) memcpy(string->bytes, value.bytes, value.length);
  string->bytes[value.length] = 0;
  string->length = value.length;
  string->set = true;
  return 0;
}

void string_free(struct string *string)
{
  free(string->bytes);
  *string = (struct string){0};
}

void extension_reset(struct hutch_ext4 *fs, struct extension *extension)
{
  string_free(&extension->path);
  string_free(&extension->link);
  string_free(&extension->sparse_name);
  struct inode holder = {.attributes = extension->attributes};
  inode_forget_attributes(fs, &holder);
  *extension = (struct extension){0};
}

/* GNU.sparse.map of format 0.1: "offset,length,offset,length,...". */
static int parse_map(struct hutch_ext4 *fs, struct text value)
{
  fs->tar->map_count = 0;
  uint64_t pair[2] = {0, 0};
  for (int index = 0; value.length > 0; index ^= 1) {
    const char *comma = memchr(value.bytes, ',', value.length);
    size_t length = comma == NULL ? value.length : (size_t)(comma - value.bytes);
    if (!text_to_number((struct text){value.bytes, length}, &pair[index]))
      return image_error(fs, -EBADMSG, "its sparse map isn't made of numbers");
    size_t used = length + (comma == NULL ? 0 : 1);
    value = (struct text){value.bytes + used, value.length - used};
    int result = index == 1 ? sparse_add(fs, pair[0], pair[1]) : 0;
    if (result < 0) return result;
  }
  fs->tar->extension.has_map = true;
  return 0;
}

/* Records that say something about sparse files. */
static int sparse_record(struct hutch_ext4 *fs, struct text key, struct text value)
{
  struct extension *extension = &fs->tar->extension;
  key.bytes += strlen("GNU.sparse."), key.length -= strlen("GNU.sparse.");
  if (text_is(key, "name")) return string_set(fs, &extension->sparse_name, value);
  if (text_is(key, "map")) return parse_map(fs, value);
  uint64_t number = 0;
  if (!text_to_number(value, &number))
    return image_error(fs, -EBADMSG, "a sparse header isn't a number");
  if (text_is(key, "major")) extension->sparse_major = number;
  if (text_is(key, "minor")) extension->sparse_minor = number;
  if (text_is(key, "size") || text_is(key, "realsize")) {
    extension->real_size = number;
    extension->has_real_size = true;
  }
  if (text_is(key, "offset")) {
    extension->offset = number;
    extension->has_offset = true;
  }
  if (text_is(key, "numbytes")) {
    if (!extension->has_offset) return image_error(fs, -EBADMSG, "its sparse map has no offset");
    if (!extension->has_map) fs->tar->map_count = 0;
    extension->has_offset = false;
    extension->has_map = true;
    return sparse_add(fs, extension->offset, number);
  }
  return 0;
}

static int number_record(struct hutch_ext4 *fs, struct text value, uint64_t *number, bool *set)
{
  *set = value.length > 0; /* an empty value takes the header back */
  if (*set && !text_to_number(value, number))
    return image_error(fs, -EBADMSG, "a pax header isn't a number");
  return 0;
}

static bool begins(struct text text, const char *prefix)
{
  return text.length > strlen(prefix) && memcmp(text.bytes, prefix, strlen(prefix)) == 0;
}

static int string_record(struct hutch_ext4 *fs, struct text value, struct string *string)
{
  if (value.length > 0) return string_set(fs, string, value);
  string_free(string);
  return 0;
}

static int record(struct hutch_ext4 *fs, struct text key, struct text value)
{
  struct extension *extension = &fs->tar->extension;
  if (text_is(key, "path")) return string_record(fs, value, &extension->path);
  if (text_is(key, "linkpath")) return string_record(fs, value, &extension->link);
  if (text_is(key, "size"))
    return number_record(fs, value, &extension->size, &extension->has_size);
  if (text_is(key, "uid")) return number_record(fs, value, &extension->uid, &extension->has_uid);
  if (text_is(key, "gid")) return number_record(fs, value, &extension->gid, &extension->has_gid);
  if (text_is(key, "mtime")) {
    extension->has_time = value.length > 0;
    if (extension->has_time && !text_to_time(value, &extension->seconds, &extension->nanos))
      return image_error(fs, -EBADMSG, "its modification time isn't a number");
    return 0;
  }
  if (begins(key, "GNU.sparse.")) return sparse_record(fs, key, value);
  if (!begins(key, "SCHILY.xattr.")) return 0;
  size_t prefix = strlen("SCHILY.xattr.");
  return attribute_add(fs, extension, (struct text){key.bytes + prefix, key.length - prefix},
                       value);
}

int pax_apply(struct hutch_ext4 *fs, struct text body)
{
  while (body.length > 0) {
    const char *space = memchr(body.bytes, ' ', body.length);
    uint64_t length;
    if (space == NULL ||
        !text_to_number((struct text){body.bytes, (size_t)(space - body.bytes)}, &length))
      return image_error(fs, -EBADMSG, "a pax header has no length");
    size_t begin = (size_t)(space - body.bytes) + 1;
    if (length > body.length || length < begin + 2 || body.bytes[length - 1] != '\n')
      return image_error(fs, -EBADMSG, "a pax header's length is wrong");
    const char *equals = memchr(body.bytes + begin, '=', length - 1 - begin);
    if (equals == NULL) return image_error(fs, -EBADMSG, "a pax header has no value");
    struct text key = {body.bytes + begin, (size_t)(equals - body.bytes) - begin};
    struct text value = {equals + 1, (size_t)(body.bytes + length - 1 - (equals + 1))};
    int result = record(fs, key, value);
    if (result < 0) return result;
    body = (struct text){body.bytes + length, body.length - length};
  }
  return 0;
}
