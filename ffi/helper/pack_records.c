/* Pax records, and the extended attributes among them. See pack.h. */
#define _GNU_SOURCE 1
#include "pack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define MAX_NAMES (64 * 1024)
#define MAX_VALUE (64 * 1024)

int bytes_add(struct hutch_pack *pack, struct pack_bytes *bytes, const void *add, size_t length)
{
  if (bytes->capacity - bytes->length < length) {
    size_t capacity = (bytes->length + length) * 2 + PACK_BLOCK;
    char *grown = realloc(bytes->bytes, capacity);
    if (grown == NULL) return pack_error(pack, -ENOMEM, "out of memory");
    bytes->bytes = grown;
    bytes->capacity = capacity;
  }
  if (add != NULL) memcpy(bytes->bytes + bytes->length, add, length);
  else memset(bytes->bytes + bytes->length, 0, length);
  bytes->length += length;
  return 0;
}

int bytes_zero(struct hutch_pack *pack, struct pack_bytes *bytes, size_t length)
{
  return length == 0 ? 0 : bytes_add(pack, bytes, NULL, length);
}

int pack_record(struct hutch_pack *pack, struct pack_bytes *records, const char *key,
                const void *value, size_t length)
{
  char front[320];
  /* The length counts itself. */
  size_t rest = strlen(key) + length + 3, total = rest + 1;
  while (total != rest + (size_t)snprintf(NULL, 0, "%zu", total))
    total = rest + (size_t)snprintf(NULL, 0, "%zu", total);
  int used = snprintf(front, sizeof front, "%zu %s=", total, key);
  if (used < 0 || (size_t)used >= sizeof front)
    return pack_entry_error(pack, -EILSEQ, "an attribute's name is too long");
  int result = bytes_add(pack, records, front, (size_t)used);
  if (result == 0 && length > 0) result = bytes_add(pack, records, value, length);
  return result == 0 ? bytes_add(pack, records, "\n", 1) : result;
}

int pack_number(struct hutch_pack *pack, struct pack_bytes *records, const char *key,
                uint64_t number)
{
  char text[24];
  int used = snprintf(text, sizeof text, "%llu", (unsigned long long)number);
  return pack_record(pack, records, key, text, (size_t)used);
}

/* Seconds since 1970, downwards too, with as many digits as needed. */
int pack_time(struct hutch_pack *pack, struct pack_bytes *records, int64_t seconds, uint32_t nanos)
{
  char text[48];
  const char *sign = "";
  uint64_t whole = (uint64_t)seconds;
  if (seconds < 0) {
    sign = "-";
    whole = nanos > 0 ? (uint64_t)(-(seconds + 1)) : (uint64_t)(-seconds);
    if (nanos > 0) nanos = 1000000000 - nanos;
  }
  int used = snprintf(text, sizeof text, "%s%llu.%09u", sign, (unsigned long long)whole, nanos);
  while (text[used - 1] == '0') used--;
  if (text[used - 1] == '.') used--;
  return pack_record(pack, records, "mtime", text, (size_t)used);
}

/* ---- extended attributes --------------------------------------------------------------------- */

static bool has_prefix(const char *name, const char *prefix)
{
  return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* What belongs to the files themselves. Labels and signatures are the host's; access lists name its
 * users, which means something only where owners stay what they are. */
static bool is_kept(const struct hutch_pack *pack, const char *name)
{
  bool own = pack->options.fixed == 0 && pack->options.ranges == 0;
  return has_prefix(name, "user.") || strcmp(name, "security.capability") == 0 ||
         (own && has_prefix(name, "system.posix_acl_"));
}

static int compare_texts(const void *a, const void *b)
{
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_attribute(struct hutch_pack *pack, struct pack_bytes *records, const char *at,
                         const char *name)
{
  char key[320];
  snprintf(key, sizeof key, "SCHILY.xattr.%s", name);
  char *value = malloc(MAX_VALUE);
  if (value == NULL) return pack_error(pack, -ENOMEM, "out of memory");
  ssize_t length = lgetxattr(at, name, value, MAX_VALUE);
  int result = 0;
  if (length >= 0) result = pack_record(pack, records, key, value, (size_t)length);
  else if (errno != ENODATA) result = pack_entry_error(pack, -errno, strerror(errno));
  free(value);
  return result;
}

int pack_attributes(struct hutch_pack *pack, struct pack_bytes *records)
{
  if (pack->attributes != NULL) return pack->attributes(pack, records);
  /* By way of the folder's descriptor: no link on the way can lead elsewhere. */
  char at[320];
  if (pack->path_length == 0) {
    snprintf(at, sizeof at, "/proc/self/fd/%d/.", pack->stack[0].fd);
  } else {
    const char *name;
    int parent = pack_parent(pack, &name);
    snprintf(at, sizeof at, "/proc/self/fd/%d/%s", parent, name);
  }
  char *names = malloc(MAX_NAMES);
  if (names == NULL) return pack_error(pack, -ENOMEM, "out of memory");
  ssize_t length = llistxattr(at, names, MAX_NAMES);
  int result = 0;
  if (length < 0 && errno != ENOTSUP) result = pack_entry_error(pack, -errno, strerror(errno));
  const char **sorted = length > 0 ? calloc((size_t)length, sizeof *sorted) : NULL;
  if (length > 0 && sorted == NULL) result = pack_error(pack, -ENOMEM, "out of memory");
  size_t count = 0;
  for (ssize_t i = 0; sorted != NULL && i < length; i += (ssize_t)strlen(names + i) + 1)
    if (is_kept(pack, names + i)) sorted[count++] = names + i;
  if (count > 0) qsort(sorted, count, sizeof *sorted, compare_texts);
  for (size_t i = 0; i < count && result == 0; i++)
    result = add_attribute(pack, records, at, sorted[i]);
  free(sorted);
  free(names);
  return result;
}
