/* Fields of a tar header block, in all the dialects that container tools write. */
#include "layer.h"

#include <errno.h>
#include <string.h>

/* Offsets and sizes of the fields. */
enum {
  NAME = 0, MODE = 100, UID = 108, GID = 116, SIZE = 124, MTIME = 136, TYPE = 156,
  LINK = 157, MAGIC = 257, MAJOR = 329, MINOR = 337, PREFIX = 345, STAR_TRAILER = 508
};

static size_t text_length(const uint8_t *field, size_t size)
{
  const uint8_t *end = memchr(field, 0, size);
  return end == NULL ? size : (size_t)(end - field);
}

/* The path from the name field and, in POSIX and star headers, the prefix. */
static struct text header_path(struct tar *tar)
{
  const uint8_t *block = tar->block;
  size_t at = 0;
  if (memcmp(block + MAGIC, "ustar\0", 6) == 0) {
    bool star = memcmp(block + STAR_TRAILER, "tar\0", 4) == 0;
    at = text_length(block + PREFIX, star ? 131 : 155);
    memcpy(tar->name, block + PREFIX, at);
    if (at > 0) tar->name[at++] = '/';
  }
  size_t length = text_length(block + NAME, 100);
  memcpy(tar->name + at, block + NAME, length);
  return (struct text){tar->name, at + length};
}

static struct text header_link(struct tar *tar)
{
  size_t length = text_length(tar->block + LINK, 100);
  memcpy(tar->link, tar->block + LINK, length);
  return (struct text){tar->link, length};
}

static struct text of_string(const struct string *string)
{
  return (struct text){string->bytes, string->length};
}

static int bad_field(struct hutch_ext4 *fs, const char *field)
{
  return image_error(fs, -EBADMSG, "its %s is no valid number", field);
}

static int owner(struct hutch_ext4 *fs, size_t at, bool given, uint64_t value, uint32_t *id)
{
  int64_t number;
  if (!given) {
    if (!header_number(fs->tar->block + at, 8, &number) || number < 0)
      return bad_field(fs, "owner");
    value = (uint64_t)number;
  }
  if (value >= UINT32_MAX) return image_error(fs, -EBADMSG, "its owner's number is too large");
  *id = (uint32_t)value;
  return 0;
}

static int times_and_mode(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  struct extension *extension = &tar->extension;
  int64_t mode, seconds = extension->seconds;
  if (!header_number(tar->block + MODE, 8, &mode)) return bad_field(fs, "mode");
  if (!extension->has_time && !header_number(tar->block + MTIME, 12, &seconds))
    return bad_field(fs, "modification time");
  tar->entry.mode = (uint32_t)mode & 07777;
  tar->entry.seconds = seconds;
  tar->entry.nanos = extension->has_time ? extension->nanos : 0;
  return 0;
}

static int device(struct hutch_ext4 *fs)
{
  struct entry *entry = &fs->tar->entry;
  int64_t major, minor;
  if (entry->type != '3' && entry->type != '4') return 0;
  if (!header_number(fs->tar->block + MAJOR, 8, &major) ||
      !header_number(fs->tar->block + MINOR, 8, &minor))
    return bad_field(fs, "device");
  if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff)
    return image_error(fs, -EBADMSG, "its device number is out of range");
  entry->major = (uint32_t)major;
  entry->minor = (uint32_t)minor;
  return 0;
}

/* Old writers mark a folder by its name's last slash alone. */
static int kind(struct hutch_ext4 *fs)
{
  struct entry *entry = &fs->tar->entry;
  char type = (char)fs->tar->block[TYPE];
  bool slash = entry->path.length > 0 && entry->path.bytes[entry->path.length - 1] == '/';
  if (type == 0 || type == '7' || type == 'S') type = '0';
  if (type == '0' && slash) type = '5';
  if (type == 'D') type = '5';
  if (type < '0' || type > '6') {
    char name[2] = {type, 0};
    return image_error(fs, -EBADMSG, "it is of unknown kind \"%s\"",
                       quote((struct text){name, 1}).text);
  }
  entry->type = type;
  return 0;
}

int header_entry(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  struct extension *extension = &tar->extension;
  struct entry *entry = &tar->entry;
  *entry = (struct entry){.path = header_path(tar), .link = header_link(tar)};
  if (extension->path.set) entry->path = of_string(&extension->path);
  if (extension->sparse_name.set) entry->path = of_string(&extension->sparse_name);
  if (extension->link.set) entry->link = of_string(&extension->link);
  tar->named = true;
  int64_t size = 0;
  if (!extension->has_size && (!header_number(tar->block + SIZE, 12, &size) || size < 0))
    return bad_field(fs, "size");
  int result = kind(fs);
  if (result == 0) result = times_and_mode(fs);
  if (result == 0) result = owner(fs, UID, extension->has_uid, extension->uid, &entry->uid);
  if (result == 0) result = owner(fs, GID, extension->has_gid, extension->gid, &entry->gid);
  if (result == 0) result = device(fs);
  if (result < 0) return result;
  /* Only files have data, whatever the size field of others says; GNU's "D" lists names. */
  bool data = entry->type == '0' || tar->block[TYPE] == 'D';
  tar->left = !data ? 0 : extension->has_size ? extension->size : (uint64_t)size;
  if (tar->left > MAX_FILE_SIZE) return image_error(fs, -EFBIG, "it is larger than a file can be");
  tar->padding = (TAR_BLOCK - tar->left % TAR_BLOCK) % TAR_BLOCK;
  entry->size = tar->left;
  return 0;
}
