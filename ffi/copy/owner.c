#include "copy.h"

bool copy_owner_map(const struct copy_owner *owner, uint32_t id, bool group, uint32_t *mapped)
{
  *mapped = id;
  if (owner->kind == COPY_OWNERS_NONE) *mapped = 0;
  if (owner->kind == COPY_OWNERS_FIXED) *mapped = group ? owner->gid : owner->uid;
  if (owner->kind != COPY_OWNERS_MAP) return true;
  for (uint32_t i = 0; i < owner->count; i++) {
    const struct copy_range *range = &owner->ranges[i];
    if (id < range->from || id - range->from >= range->count) continue;
    *mapped = range->to + (id - range->from);
    return true;
  }
  return false;
}
