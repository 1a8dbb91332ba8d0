/* Remembers what this copy made, so that a guest's hard link can't take hold of anything older. */
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#define LEAST 1024u

/* Never 0. Two files of one hash would only let a link through that stays in the destination. */
static uint64_t hash_of(const struct stat *status)
{
  uint64_t hash = (uint64_t)status->st_ino * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)status->st_dev;
  hash ^= hash >> 29;
  hash *= UINT64_C(0xbf58476d1ce4e5b9);
  hash ^= hash >> 32;
  return hash == 0 ? 1 : hash;
}

static uint64_t *slot_of(uint64_t *slots, size_t capacity, uint64_t hash)
{
  size_t at = hash & (capacity - 1);
  while (slots[at] != 0 && slots[at] != hash) at = (at + 1) & (capacity - 1);
  return &slots[at];
}

static int grow(struct copy_made *made)
{
  size_t capacity = made->capacity == 0 ? LEAST : made->capacity * 2;
  uint64_t *slots = calloc(capacity, sizeof *slots);
  if (slots == NULL) return -ENOMEM;
  for (size_t i = 0; i < made->capacity; i++)
    if (made->slots[i] != 0) *slot_of(slots, capacity, made->slots[i]) = made->slots[i];
  free(made->slots);
  made->slots = slots;
  made->capacity = capacity;
  return 0;
}

int copy_made_add(struct copy_unpack *unpack, int folder, const char *name)
{
  struct copy_made *made = &unpack->made;
  struct stat status;
  if (!(unpack->flags & COPY_GUARDED)) return 0;
  if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return copy_unpack_error(unpack, errno, "look at what was made");
  if (made->count * 2 >= made->capacity && grow(made) < 0)
    return copy_unpack_error(unpack, ENOMEM, "remember what was made");
  uint64_t hash = hash_of(&status);
  uint64_t *slot = slot_of(made->slots, made->capacity, hash);
  if (*slot == 0) made->count++;
  *slot = hash;
  return 0;
}

bool copy_made_has(const struct copy_unpack *unpack, int folder, const char *name)
{
  const struct copy_made *made = &unpack->made;
  struct stat status;
  if (!(unpack->flags & COPY_GUARDED)) return true;
  if (made->capacity == 0 || fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return false;
  return *slot_of(made->slots, made->capacity, hash_of(&status)) != 0;
}
