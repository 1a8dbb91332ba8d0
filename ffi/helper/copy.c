#include "copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct hutch_copy {
  struct copy_pack *pack;
  struct copy_unpack *unpack; /* one of the two is NULL */
  struct copy_range *ranges;
};

int hutch_copy_open(int packs, const char *path, const char *name, const struct hutch_copy_options *options,
                    hutch_copy **out)
{
  hutch_copy *copy = calloc(1, sizeof *copy);
  *out = NULL;
  if (copy == NULL) return -ENOMEM;
  size_t size = options->count * sizeof *copy->ranges;
  copy->ranges = malloc(size + 1);
  if (copy->ranges != NULL) {
    memcpy(copy->ranges, options + 1, size);
    struct copy_owner owner = {options->owners, options->uid, options->gid, options->count, copy->ranges};
    if (packs) {
      struct copy_pack_options how = {options->flags, owner};
      copy->pack = copy_pack_open(path, name, &how);
    } else {
      struct copy_unpack_options how = {options->flags, owner, options->max_bytes, options->max_entries};
      copy->unpack = copy_unpack_open(path, name, &how);
    }
  }
  if (copy->pack == NULL && copy->unpack == NULL) {
    hutch_copy_close(copy);
    return -ENOMEM;
  }
  *out = copy;
  return 0;
}

int64_t hutch_copy_read(hutch_copy *copy, uint8_t *buffer, size_t size)
{
  return copy_pack_read(copy->pack, buffer, size);
}

int64_t hutch_copy_push(hutch_copy *copy, const uint8_t *bytes, size_t length)
{
  return copy_unpack_push(copy->unpack, bytes, length);
}

int hutch_copy_finish(hutch_copy *copy)
{
  return copy_unpack_finish(copy->unpack);
}

uint32_t hutch_copy_asks(const hutch_copy *copy, uint8_t path[COPY_MAX_PATH], uint64_t *size)
{
  const struct copy_entry *entry = copy->pack != NULL ? copy_pack_asks(copy->pack) : copy_unpack_asks(copy->unpack);
  if (entry == NULL) return 0;
  strcpy((char *)path, entry->path);
  *size = entry->size;
  return (uint8_t)entry->type;
}

void hutch_copy_answer(hutch_copy *copy, int take)
{
  if (copy->pack != NULL) copy_pack_answer(copy->pack, take != 0);
  else copy_unpack_answer(copy->unpack, take != 0);
}

void hutch_copy_progress(const hutch_copy *copy, uint64_t counts[3], uint8_t path[COPY_MAX_PATH])
{
  if (copy->pack != NULL) {
    counts[0] = copy_pack_entries(copy->pack);
    counts[1] = copy_pack_bytes(copy->pack);
    counts[2] = copy_pack_skipped(copy->pack);
    strcpy((char *)path, copy_pack_path(copy->pack));
  } else {
    counts[0] = copy_unpack_entries(copy->unpack);
    counts[1] = copy_unpack_bytes(copy->unpack);
    counts[2] = 0;
    strcpy((char *)path, copy_unpack_path(copy->unpack));
  }
}

size_t hutch_copy_error(const hutch_copy *copy, uint8_t *line, size_t size)
{
  const struct copy_failure *failure = copy->pack != NULL ? copy_pack_failure(copy->pack) : copy_unpack_failure(copy->unpack);
  size_t length = copy_failure_line(failure, (char *)line, size);
  return length < size ? length : size;
}

void hutch_copy_close(hutch_copy *copy)
{
  if (copy == NULL) return;
  copy_pack_close(copy->pack);
  copy_unpack_close(copy->unpack);
  free(copy->ranges);
  free(copy);
}
