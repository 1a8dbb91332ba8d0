/* The tar's headers: ustar, with pax records for what doesn't fit. See pack.h. */
#define _GNU_SOURCE 1
#include "pack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OCTAL_7 2097151u
#define MAX_OCTAL_11 UINT64_C(8589934591)

static size_t padding(uint64_t length)
{
  return (size_t)((PACK_BLOCK - length % PACK_BLOCK) % PACK_BLOCK);
}

static int owner_of(struct hutch_pack *pack, uint32_t id, uint32_t fixed, uint32_t *owner)
{
  *owner = pack->options.fixed != 0 ? fixed : id;
  if (pack->options.fixed != 0 || pack->options.ranges == 0) return 0;
  for (uint32_t i = 0; i < pack->options.ranges; i++) {
    const struct hutch_pack_range *range = &pack->ranges[i];
    if (id < range->outside || id - range->outside >= range->count) continue;
    *owner = range->inside + (id - range->outside);
    return 0;
  }
  char problem[80];
  snprintf(problem, sizeof problem, "its owner %u isn't in the map of owners", id);
  return pack_entry_error(pack, -EILSEQ, problem);
}

static void octal(char *field, size_t width, uint64_t value)
{
  for (size_t at = width - 1; at-- > 0; value >>= 3) field[at] = (char)('0' + (value & 7));
}

struct fields {
  const char *path, *link;
  uint32_t mode, uid, gid, major, minor;
  uint64_t size, mtime;
  char type;
};

static int add_block(struct hutch_pack *pack, const struct fields *fields)
{
  char block[PACK_BLOCK] = {0};
  memcpy(block, fields->path, strnlen(fields->path, 100));
  octal(block + 100, 8, fields->mode);
  octal(block + 108, 8, fields->uid);
  octal(block + 116, 8, fields->gid);
  octal(block + 124, 12, fields->size);
  octal(block + 136, 12, fields->mtime);
  memset(block + 148, ' ', 8);
  block[156] = fields->type;
  if (fields->link != NULL) memcpy(block + 157, fields->link, strnlen(fields->link, 100));
  memcpy(block + 257, "ustar\0" "00", 8);
  octal(block + 329, 8, fields->major);
  octal(block + 337, 8, fields->minor);
  uint32_t sum = 0;
  for (size_t i = 0; i < sizeof block; i++) sum += (unsigned char)block[i];
  octal(block + 148, 7, sum);
  block[154] = 0;
  return bytes_add(pack, &pack->head, block, sizeof block);
}

/* The map of a sparse file, as GNU tar's format 1.0 has it: it comes before the data. */
static int sparse_map(struct hutch_pack *pack, struct pack_bytes *map)
{
  char text[64];
  int used = snprintf(text, sizeof text, "%zu\n", pack->extent_count);
  int result = bytes_add(pack, map, text, (size_t)used);
  for (size_t i = 0; i < pack->extent_count && result == 0; i++) {
    struct pack_extent extent = pack->extents[i];
    used = snprintf(text, sizeof text, "%llu\n%llu\n", (unsigned long long)extent.start,
                    (unsigned long long)extent.length);
    result = bytes_add(pack, map, text, (size_t)used);
  }
  return result == 0 ? bytes_zero(pack, map, padding(map->length)) : result;
}

static int add_records(struct hutch_pack *pack, struct pack_bytes *records,
                       const struct fields *fields, const struct statx *status, bool sparse)
{
  int64_t seconds = status->stx_mtime.tv_sec;
  int result = 0;
  if (sparse) {
    result = pack_record(pack, records, "GNU.sparse.major", "1", 1);
    if (result == 0) result = pack_record(pack, records, "GNU.sparse.minor", "0", 1);
    if (result == 0)
      result = pack_record(pack, records, "GNU.sparse.name", pack->path, pack->path_length);
    if (result == 0) result = pack_number(pack, records, "GNU.sparse.realsize", status->stx_size);
  } else if (strlen(fields->path) > 100) {
    result = pack_record(pack, records, "path", fields->path, strlen(fields->path));
  }
  if (result == 0 && fields->link != NULL && strlen(fields->link) > 100)
    result = pack_record(pack, records, "linkpath", fields->link, strlen(fields->link));
  if (result == 0 && fields->size > MAX_OCTAL_11)
    result = pack_number(pack, records, "size", fields->size);
  if (result == 0 && fields->uid > MAX_OCTAL_7)
    result = pack_number(pack, records, "uid", fields->uid);
  if (result == 0 && fields->gid > MAX_OCTAL_7)
    result = pack_number(pack, records, "gid", fields->gid);
  bool fits = seconds >= 0 && (uint64_t)seconds <= MAX_OCTAL_11 && status->stx_mtime.tv_nsec == 0;
  if (result == 0 && !fits)
    result = pack_time(pack, records, seconds, status->stx_mtime.tv_nsec);
  /* Of a further name they are the file's already. */
  return result == 0 && fields->type != '1' ? pack_attributes(pack, records) : result;
}

static int add_extension(struct hutch_pack *pack, const struct pack_bytes *records)
{
  struct fields fields = {
    .path = "PaxHeaders/entry", .mode = 0644, .size = records->length, .type = 'x'};
  int result = add_block(pack, &fields);
  if (result == 0) result = bytes_add(pack, &pack->head, records->bytes, records->length);
  return result == 0 ? bytes_zero(pack, &pack->head, padding(records->length)) : result;
}

int pack_header(struct hutch_pack *pack, const struct statx *status, char type, const char *link,
                uint64_t size)
{
  char path[PACK_MAX_PATH + 2];
  const char *shown = pack->path_length == 0 ? "." : pack->path;
  snprintf(path, sizeof path, "%s%s", shown, type == '5' ? "/" : "");
  struct fields fields = {.path = path, .link = link, .mode = status->stx_mode & 07777, .type = type,
                          .size = size};
  int result = owner_of(pack, status->stx_uid, pack->options.uid, &fields.uid);
  if (result == 0) result = owner_of(pack, status->stx_gid, pack->options.gid, &fields.gid);
  if (result < 0) return result;
  if (type == '3' || type == '4') {
    fields.major = status->stx_rdev_major;
    fields.minor = status->stx_rdev_minor;
  }
  int64_t seconds = status->stx_mtime.tv_sec;
  fields.mtime = seconds < 0 || (uint64_t)seconds > MAX_OCTAL_11 ? 0 : (uint64_t)seconds;
  struct pack_bytes records = {0}, map = {0};
  bool sparse = type == '0' && size != status->stx_size;
  if (sparse) result = sparse_map(pack, &map);
  fields.size += map.length;
  if (result == 0) result = add_records(pack, &records, &fields, status, sparse);
  if (result == 0 && records.length > 0) result = add_extension(pack, &records);
  pack->padding = padding(fields.size);
  /* What the pax records said in full is cut here, never wrong. */
  if (fields.size > MAX_OCTAL_11) fields.size = 0;
  if (fields.uid > MAX_OCTAL_7) fields.uid = 0;
  if (fields.gid > MAX_OCTAL_7) fields.gid = 0;
  if (result == 0) result = add_block(pack, &fields);
  if (result == 0 && map.length > 0) result = bytes_add(pack, &pack->head, map.bytes, map.length);
  free(records.bytes);
  free(map.bytes);
  return result;
}
