/* Extended attributes, as ext4 keeps them: behind the inode, and in a block. See ext4_read.h. */
#define _GNU_SOURCE 1
#include "ext4_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0xea020000u
#define BLOCK_HEAD 32u
#define ENTRY_HEAD 16u
#define ACL_MOST 4096u

typedef int (*take_attribute)(void *, const char *, const uint8_t *, size_t);

struct area {
  const uint8_t *entries; /* the first one */
  size_t size;            /* from there to the end */
  const uint8_t *values;  /* what values' places count from */
  size_t values_size;
};

static const char *prefix_of(uint8_t index)
{
  static const char *const PREFIXES[] = {NULL, "user.", "system.posix_acl_access",
                                         "system.posix_acl_default", "trusted.", NULL, "security."};
  return index < sizeof PREFIXES / sizeof *PREFIXES ? PREFIXES[index] : NULL;
}

/* From ext4's short form to the one that programs see: a user or group has a number, others haven't. */
static int take_acl(struct ext4_reader *fs, const char *name, const uint8_t *value, size_t length,
                    take_attribute each, void *context)
{
  uint8_t whole[ACL_MOST];
  size_t used = 4;
  memcpy(whole, "\2\0\0\0", 4);
  if (length < 4 || le32_at(value) != 1) return ext4_error(fs, -EBADMSG, "an access list is odd");
  for (size_t at = 4; at < length;) {
    if (length - at < 4 || used + 8 > sizeof whole)
      return ext4_error(fs, -EBADMSG, "an access list is odd");
    uint32_t tag = le16_at(value + at);
    bool numbered = tag == 2 || tag == 8;
    if (numbered && length - at < 8) return ext4_error(fs, -EBADMSG, "an access list is odd");
    memcpy(whole + used, value + at, 4);
    if (numbered) memcpy(whole + used + 4, value + at + 4, 4);
    else memset(whole + used + 4, 0xff, 4);
    used += 8;
    at += numbered ? 8 : 4;
  }
  return each(context, name, whole, used);
}

static int take_entry(struct ext4_reader *fs, const struct area *area, const uint8_t *entry,
                      take_attribute each, void *context)
{
  char name[320];
  const char *prefix = prefix_of(entry[1]);
  uint32_t at = le16_at(entry + 2), length = le32_at(entry + 8);
  if (le32_at(entry + 4) != 0) return ext4_error(fs, -ENOTSUP, "an attribute has a file of its own");
  if (length > area->values_size || at > area->values_size - length)
    return ext4_error(fs, -EBADMSG, "an attribute's value is out of its place");
  if (prefix == NULL) return 0; /* nothing that a program can see */
  snprintf(name, sizeof name, "%s%.*s", prefix, (int)entry[0], (const char *)entry + ENTRY_HEAD);
  if (strlen(name) != strlen(prefix) + entry[0])
    return ext4_error(fs, -EBADMSG, "an attribute's name can't be");
  if (strncmp(prefix, "system.", 7) == 0 && entry[0] == 0)
    return take_acl(fs, name, area->values + at, length, each, context);
  return each(context, name, area->values + at, length);
}

static int take_area(struct ext4_reader *fs, const struct area *area, take_attribute each,
                     void *context)
{
  for (size_t at = 0; area->size - at >= 4 && le32_at(area->entries + at) != 0;) {
    const uint8_t *entry = area->entries + at;
    if (area->size - at < ENTRY_HEAD) return ext4_error(fs, -EBADMSG, "attributes are cut short");
    size_t length = ENTRY_HEAD + (entry[0] + 3u) / 4 * 4;
    if (length > area->size - at) return ext4_error(fs, -EBADMSG, "attributes are cut short");
    int result = take_entry(fs, area, entry, each, context);
    if (result < 0) return result;
    at += length;
  }
  return 0;
}

int ext4_attributes(struct ext4_reader *fs, const struct ext4_inode *inode, take_attribute each,
                    void *context)
{
  int result = 0;
  if (inode->body_size >= 8 && le32_at(inode->body) == MAGIC) {
    const uint8_t *first = inode->body + 4;
    struct area area = {first, inode->body_size - 4, first, inode->body_size - 4};
    result = take_area(fs, &area, each, context);
  }
  if (result < 0 || inode->attribute_block == 0) return result;
  uint8_t *block = malloc(fs->block_size);
  if (block == NULL) return ext4_error(fs, -ENOMEM, "out of memory");
  result = ext4_block(fs, inode->attribute_block, block);
  if (result == 0 && le32_at(block) != MAGIC)
    result = ext4_error(fs, -EBADMSG, "a block of attributes isn't one");
  if (result == 0) {
    struct area area = {block + BLOCK_HEAD, fs->block_size - BLOCK_HEAD, block, fs->block_size};
    result = take_area(fs, &area, each, context);
  }
  free(block);
  return result;
}
