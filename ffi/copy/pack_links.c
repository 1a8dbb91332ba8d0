/* Which files with several names came already. */
#include "pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEAST 64u

static struct copy_link *slot_of(struct copy_link *links, size_t capacity, dev_t device, ino_t inode)
{
  uint64_t hash = ((uint64_t)inode ^ (uint64_t)device << 32) * UINT64_C(0x9e3779b97f4a7c15);
  size_t at = (size_t)(hash >> 32) & (capacity - 1);
  while (links[at].path != NULL && (links[at].inode != inode || links[at].device != device)) at = (at + 1) & (capacity - 1);
  return &links[at];
}

static int grow(struct copy_pack *pack)
{
  size_t capacity = pack->link_capacity == 0 ? LEAST : pack->link_capacity * 2;
  struct copy_link *links = calloc(capacity, sizeof *links);
  if (links == NULL) return copy_pack_error(pack, ENOMEM, "remember its names");
  for (size_t i = 0; i < pack->link_capacity; i++) {
    struct copy_link *old = &pack->links[i];
    if (old->path != NULL) *slot_of(links, capacity, old->device, old->inode) = *old;
  }
  free(pack->links);
  pack->links = links;
  pack->link_capacity = capacity;
  return 0;
}

int copy_pack_known(struct copy_pack *pack, const char **path)
{
  *path = NULL;
  if (pack->link_count * 2 >= pack->link_capacity) {
    int result = grow(pack);
    if (result < 0) return result;
  }
  struct copy_link *slot = slot_of(pack->links, pack->link_capacity, pack->status.st_dev, pack->status.st_ino);
  if (slot->path != NULL) {
    *path = slot->path;
    return 0;
  }
  *slot = (struct copy_link){pack->status.st_dev, pack->status.st_ino, strdup(pack->path)};
  if (slot->path == NULL) return copy_pack_error(pack, ENOMEM, "remember its names");
  pack->link_count++;
  return 0;
}

void copy_pack_forget(struct copy_pack *pack)
{
  for (size_t i = 0; i < pack->link_capacity; i++) free(pack->links[i].path);
  free(pack->links);
  pack->links = NULL;
}
