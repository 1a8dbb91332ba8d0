/* Extended attributes: those that a Linux program in the guest can see. */
#include "layer.h"

#include <errno.h>
#include <string.h>

/* What fits beside the inode is left for luck: all must fit in one block. */
#define BLOCK_HEADER 32u
#define ENTRY_HEADER 16u

#define ACL_VERSION 2u
enum { ACL_USER_OBJ = 1, ACL_USER = 2, ACL_GROUP_OBJ = 4, ACL_GROUP = 8, ACL_MASK = 16,
       ACL_OTHER = 32 };

size_t attribute_memory(size_t name_length, size_t size)
{
  return sizeof(struct attribute) + name_length + 1 + size;
}

static bool begins(struct text text, const char *prefix)
{
  return text.length > strlen(prefix) && memcmp(text.bytes, prefix, strlen(prefix)) == 0;
}

static bool is_acl(struct text name)
{
  return text_is(name, "system.posix_acl_access") || text_is(name, "system.posix_acl_default");
}

/* Others can't be stored in ext4; container runtimes leave them out as well. */
static bool is_stored(struct text name)
{
  return begins(name, "user.") || begins(name, "trusted.") || begins(name, "security.") ||
         is_acl(name);
}

static uint32_t little(const uint8_t *bytes, size_t size)
{
  uint32_t value = 0;
  for (size_t i = size; i > 0; i--) value = value << 8 | bytes[i - 1];
  return value;
}

static bool acl_fits(struct text value)
{
  const uint8_t *bytes = (const uint8_t *)value.bytes;
  if (value.length < 4 || (value.length - 4) % 8 != 0 || little(bytes, 4) != ACL_VERSION)
    return false;
  for (size_t at = 4; at < value.length; at += 8) {
    uint32_t tag = little(bytes + at, 2);
    if (tag != ACL_USER_OBJ && tag != ACL_USER && tag != ACL_GROUP_OBJ && tag != ACL_GROUP &&
        tag != ACL_MASK && tag != ACL_OTHER)
      return false;
  }
  return true;
}

static uint64_t stored_bytes(size_t name_length, size_t size)
{
  return ENTRY_HEADER + (name_length + 3) / 4 * 4 + (size + 3) / 4 * 4;
}

static void remove_named(struct hutch_ext4 *fs, struct extension *extension, struct text name)
{
  for (struct attribute **at = &extension->attributes; *at != NULL; at = &(*at)->next) {
    struct attribute *attribute = *at;
    if (!text_is(name, attribute->name)) continue;
    *at = attribute->next;
    extension->attribute_bytes -= stored_bytes(name.length, attribute->size);
    image_give(fs, attribute, attribute_memory(name.length, attribute->size));
    return;
  }
}

int attribute_add(struct hutch_ext4 *fs, struct extension *extension, struct text name,
                  struct text value)
{
  if (memchr(name.bytes, 0, name.length) != NULL || name.length > MAX_NAME)
    return image_error(fs, -EBADMSG, "the name of an extended attribute is invalid");
  if (!is_stored(name)) return 0;
  if (is_acl(name) && !acl_fits(value))
    return image_error(fs, -EBADMSG, "its access control list is invalid");
  remove_named(fs, extension, name);
  extension->attribute_bytes += stored_bytes(name.length, value.length);
  if (extension->attribute_bytes + BLOCK_HEADER > BLOCK_SIZE)
    return image_error(fs, -EBADMSG, "its extended attributes are over %u bytes", BLOCK_SIZE);
  struct attribute *attribute = image_take(fs, attribute_memory(name.length, value.length));
  if (attribute == NULL) return fs->code;
  memcpy(attribute->name, name.bytes, name.length);
  uint8_t *place = (uint8_t *)attribute->name + name.length + 1;
  if (value.length > 0) memcpy(place, value.bytes, value.length);
  attribute->value = place;
  attribute->size = value.length;
  attribute->next = extension->attributes;
  extension->attributes = attribute;
  return 0;
}
