/* Where bitmaps, inode tables and journal go, and how large the file system is. With flex_bg
 * they may be anywhere: all are placed behind the data. */
#include "finish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What mke2fs gives a group at its default ratio. */
#define USUAL_INODES 8192u
#define MOST_INODES 32768u
/* Free blocks and inodes left for a guest that can't grow its disk. */
#define SPARE_BLOCKS 64u
#define SPARE_INODES 64u
/* libext2fs refuses a last group with less room than this beside its tables. */
#define LAST_GROUP_ROOM 51u

static int place_journal(struct build *build)
{
  build->journal = (struct inode){.number = EXT2_JOURNAL_INO, .links = 1, .mode = S_IFREG | 0600,
                                  .size = (uint64_t)JOURNAL_BLOCKS * BLOCK_SIZE,
                                  .seconds = FIXED_TIME, .blocks = JOURNAL_BLOCKS,
                                  .extent_count = 1};
  uint64_t start;
  if (space_take_run(&build->fs->space, JOURNAL_BLOCKS, &start) == 0)
    return image_error(build->fs, -EFBIG, "the image is too large");
  build->journal.only = (struct extent){0, JOURNAL_BLOCKS, start};
  return 0;
}

static bool place_group(struct space *space, struct group *group, uint64_t table_blocks)
{
  return space_take_run(space, 1, &group->block_bitmap) > 0 &&
         space_take_run(space, 1, &group->inode_bitmap) > 0 &&
         space_take_run(space, table_blocks, &group->table) > 0;
}

/* Blocks of a file system with `count` groups, 0 if they don't hold what they must. */
static uint64_t try_groups(struct build *build, struct space *space, uint32_t count)
{
  uint64_t inodes = (uint64_t)build->inode_count + FIRST_INODE + SPARE_INODES;
  uint64_t each = (inodes + count - 1) / count;
  if (each > MOST_INODES) return 0;
  if (each < USUAL_INODES) each = USUAL_INODES;
  uint64_t table_blocks = (each + INODES_PER_BLOCK - 1) / INODES_PER_BLOCK;
  build->inodes_per_group = (uint32_t)(table_blocks * INODES_PER_BLOCK);
  for (uint32_t i = 0; i < count; i++)
    if (!place_group(space, &build->groups[i], table_blocks)) return 0;
  /* libext2fs takes a block for each inode's attributes, at most, and one for the resize inode. */
  uint64_t blocks = space->cursor + SPARE_BLOCKS + build->attribute_inodes + 1;
  for (uint64_t i = (space->cursor + GROUP_BLOCKS - 1) / GROUP_BLOCKS; i < count; i++)
    if (group_has_super(i)) blocks += 1 + DESCRIPTOR_BLOCKS;
  uint64_t last = (uint64_t)(count - 1) * GROUP_BLOCKS;
  uint64_t least = last + 2 + table_blocks + LAST_GROUP_ROOM +
                   (group_has_super(count - 1) ? 1 + DESCRIPTOR_BLOCKS : 0);
  if (blocks < least) blocks = least;
  return blocks > last + GROUP_BLOCKS ? 0 : blocks;
}

int layout_plan(struct build *build)
{
  struct hutch_ext4 *fs = build->fs;
  int result = place_journal(build);
  if (result < 0) return result;
  uint32_t most = (uint32_t)(MAX_BLOCKS / GROUP_BLOCKS);
  for (uint32_t count = (uint32_t)(fs->space.cursor / GROUP_BLOCKS) + 1; count <= most; count++) {
    free(build->groups);
    build->groups = calloc(count, sizeof *build->groups);
    if (build->groups == NULL) return image_error(fs, -ENOMEM, "out of memory");
    struct space trial = {.cursor = fs->space.cursor};
    build->block_count = try_groups(build, &trial, count);
    build->group_count = count;
    if (build->block_count > 0) {
      fs->space.cursor = trial.cursor;
      for (size_t i = 0; i < trial.count && result == 0; i++)
        result = space_give(&fs->space, trial.free[i].start, trial.free[i].count);
      space_reuse(&fs->space);
    }
    space_release(&trial);
    if (result < 0) return image_error(fs, result, "%s", strerror(-result));
    if (build->block_count > 0) return 0;
  }
  return image_error(fs, -EFBIG, "the image is too large");
}
