/* Which blocks of the image are used. Blocks are given out in ascending order; those behind a
 * superblock copy stay reserved for it. */
#include "image.h"

#include <errno.h>
#include <stdlib.h>

/* Shorter holes aren't worth the fragments. */
#define SHORTEST_HOLE 16u

static bool is_power(uint64_t number, uint64_t base)
{
  while (number > 1 && number % base == 0) number /= base;
  return number == 1;
}

bool group_has_super(uint64_t group)
{
  return group <= 1 || is_power(group, 3) || is_power(group, 5) || is_power(group, 7);
}

void space_init(struct space *space)
{
  *space = (struct space){.cursor = 1 + DESCRIPTOR_BLOCKS};
}

void space_release(struct space *space)
{
  free(space->free);
}

/* Steps over a superblock at the cursor; returns how many blocks follow before the next one. */
static uint64_t room(struct space *space)
{
  uint64_t group = space->cursor / GROUP_BLOCKS;
  if (space->cursor % GROUP_BLOCKS == 0 && group_has_super(group))
    space->cursor += 1 + DESCRIPTOR_BLOCKS;
  do group++;
  while (!group_has_super(group) && group * GROUP_BLOCKS < MAX_BLOCKS);
  uint64_t end = group * GROUP_BLOCKS;
  if (end > MAX_BLOCKS) end = MAX_BLOCKS;
  return end > space->cursor ? end - space->cursor : 0;
}

static uint64_t take_from(struct range *range, uint64_t want, uint64_t *start)
{
  uint64_t count = range->count < want ? range->count : want;
  *start = range->start;
  range->start += count;
  range->count -= count;
  return count;
}

uint64_t space_take(struct space *space, uint64_t want, uint64_t *start)
{
  for (; space->next < space->sorted; space->next++) {
    struct range *hole = &space->free[space->next];
    if (hole->count >= SHORTEST_HOLE || hole->count >= want) return take_from(hole, want, start);
  }
  uint64_t left = room(space);
  struct range rest = {space->cursor, left};
  uint64_t count = take_from(&rest, want, start);
  space->cursor += count;
  return count;
}

uint64_t space_take_run(struct space *space, uint64_t want, uint64_t *start)
{
  for (size_t i = 0; i < space->sorted; i++)
    if (space->free[i].count >= want) return take_from(&space->free[i], want, start);
  uint64_t left = room(space);
  if (left < want) {
    if (left > 0 && space_give(space, space->cursor, left) < 0) return 0;
    space->cursor += left;
    left = room(space);
    if (left < want) return 0;
  }
  *start = space->cursor;
  space->cursor += want;
  return want;
}

int space_give(struct space *space, uint64_t start, uint64_t count)
{
  if (count == 0) return 0;
  struct range *last = space->count > space->sorted ? &space->free[space->count - 1] : NULL;
  if (last != NULL && last->start + last->count == start) {
    last->count += count;
    return 0;
  }
  if (space->count == space->capacity) {
    size_t capacity = space->capacity == 0 ? 64 : space->capacity * 2;
    struct range *grown = realloc(space->free, capacity * sizeof *grown);
    if (grown == NULL) return -ENOMEM;
    space->free = grown;
    space->capacity = capacity;
  }
  space->free[space->count++] = (struct range){start, count};
  return 0;
}

static int by_start(const void *left, const void *right)
{
  const struct range *a = left, *b = right;
  return a->start < b->start ? -1 : a->start > b->start;
}

void space_reuse(struct space *space)
{
  if (space->count > space->sorted) qsort(space->free, space->count, sizeof *space->free, by_start);
  size_t kept = 0;
  for (size_t i = 0; i < space->count; i++) {
    struct range hole = space->free[i];
    if (hole.count == 0) continue;
    struct range *last = kept > 0 ? &space->free[kept - 1] : NULL;
    if (last != NULL && last->start + last->count == hole.start)
      last->count += hole.count;
    else
      space->free[kept++] = hole;
  }
  space->count = space->sorted = kept;
  space->next = 0;
}
