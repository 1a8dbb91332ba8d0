/* An entry's headers: ustar, with pax records for what doesn't fit. */
#include "pack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OCTAL_7 2097151u
#define MAX_OCTAL_11 UINT64_C(8589934591)

static size_t padding(size_t length)
{
  return (TAR_BLOCK - length % TAR_BLOCK) % TAR_BLOCK;
}

static void octal(char *field, size_t width, uint64_t value)
{
  for (size_t at = width - 1; at-- > 0; value >>= 3) field[at] = (char)('0' + (value & 7));
}

static int add_block(struct copy_pack *pack, const struct copy_entry *entry)
{
  char block[TAR_BLOCK] = {0};
  bool fits = entry->seconds >= 0 && (uint64_t)entry->seconds <= MAX_OCTAL_11;
  memcpy(block, entry->path, strnlen(entry->path, 100));
  octal(block + 100, 8, entry->mode);
  octal(block + 108, 8, entry->uid > MAX_OCTAL_7 ? 0 : entry->uid);
  octal(block + 116, 8, entry->gid > MAX_OCTAL_7 ? 0 : entry->gid);
  octal(block + 124, 12, entry->size > MAX_OCTAL_11 ? 0 : entry->size);
  octal(block + 136, 12, fits ? (uint64_t)entry->seconds : 0);
  memset(block + 148, ' ', 8);
  block[156] = entry->type;
  if (entry->link != NULL) memcpy(block + 157, entry->link, strnlen(entry->link, 100));
  memcpy(block + 257, "ustar\0" "00", 8);
  octal(block + 329, 8, entry->major);
  octal(block + 337, 8, entry->minor);
  uint32_t sum = 0;
  for (size_t i = 0; i < sizeof block; i++) sum += (unsigned char)block[i];
  octal(block + 148, 7, sum);
  block[154] = 0;
  return copy_bytes_add(pack, &pack->head, block, sizeof block);
}

/* "LENGTH KEY=VALUE\n", whose length counts itself. */
static int add_record(struct copy_pack *pack, struct copy_bytes *records, const char *key, const char *value)
{
  size_t rest = strlen(key) + strlen(value) + 3, length = rest + 1;
  char head[32];
  for (;;) {
    size_t whole = rest + (size_t)snprintf(head, sizeof head, "%zu", length);
    if (whole == length) break;
    length = whole;
  }
  int result = copy_bytes_add(pack, records, head, strlen(head));
  if (result == 0) result = copy_bytes_add(pack, records, " ", 1);
  if (result == 0) result = copy_bytes_add(pack, records, key, strlen(key));
  if (result == 0) result = copy_bytes_add(pack, records, "=", 1);
  if (result == 0) result = copy_bytes_add(pack, records, value, strlen(value));
  return result == 0 ? copy_bytes_add(pack, records, "\n", 1) : result;
}

static int add_number(struct copy_pack *pack, struct copy_bytes *records, const char *key, uint64_t value)
{
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)value);
  return add_record(pack, records, key, text);
}

/* The fraction points up from whole seconds that are rounded down; as text, both have one sign. */
static int add_time(struct copy_pack *pack, struct copy_bytes *records, int64_t seconds, uint32_t nanos)
{
  char text[48];
  if (seconds < 0 && nanos > 0) {
    seconds += 1;
    nanos = 1000000000 - nanos;
    snprintf(text, sizeof text, "-%lld.%09u", (long long)-seconds, nanos);
  } else if (nanos > 0) {
    snprintf(text, sizeof text, "%lld.%09u", (long long)seconds, nanos);
  } else {
    snprintf(text, sizeof text, "%lld", (long long)seconds);
  }
  return add_record(pack, records, "mtime", text);
}

static int add_records(struct copy_pack *pack, struct copy_bytes *records)
{
  const struct copy_entry *entry = &pack->entry;
  bool fits = entry->seconds >= 0 && (uint64_t)entry->seconds <= MAX_OCTAL_11 && entry->nanos == 0;
  int result = 0;
  if (strlen(entry->path) > 100) result = add_record(pack, records, "path", entry->path);
  if (result == 0 && entry->link != NULL && strlen(entry->link) > 100)
    result = add_record(pack, records, "linkpath", entry->link);
  if (result == 0 && entry->size > MAX_OCTAL_11) result = add_number(pack, records, "size", entry->size);
  if (result == 0 && entry->uid > MAX_OCTAL_7) result = add_number(pack, records, "uid", entry->uid);
  if (result == 0 && entry->gid > MAX_OCTAL_7) result = add_number(pack, records, "gid", entry->gid);
  if (result == 0 && !fits) result = add_time(pack, records, entry->seconds, entry->nanos);
  return result;
}

int copy_pack_header(struct copy_pack *pack)
{
  static const uint8_t zeros[TAR_BLOCK];
  struct copy_bytes records = {0};
  int result = add_records(pack, &records);
  if (result == 0 && records.length > 0) {
    struct copy_entry extension = {.type = 'x', .path = "pax", .mode = 0644, .size = records.length};
    result = add_block(pack, &extension);
    if (result == 0) result = copy_bytes_add(pack, &pack->head, records.bytes, records.length);
    if (result == 0) result = copy_bytes_add(pack, &pack->head, zeros, padding(records.length));
  }
  free(records.bytes);
  return result == 0 ? add_block(pack, &pack->entry) : result;
}
