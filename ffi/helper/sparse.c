/* Maps of sparse files, in the four formats that GNU tar writes. */
#include "layer.h"

#include <errno.h>
#include <string.h>

int sparse_add(struct hutch_ext4 *fs, uint64_t offset, uint64_t length)
{
  struct tar *tar = fs->tar;
  if (tar->map_count == MAX_RANGES)
    return image_error(fs, -EFBIG, "its sparse map has over %u ranges", MAX_RANGES);
  if (tar->map_count == tar->map_capacity) {
    size_t capacity = tar->map_capacity == 0 ? 16 : tar->map_capacity * 2;
    struct range *grown = image_take(fs, capacity * sizeof *grown);
    if (grown == NULL) return fs->code;
    if (tar->map_count > 0) memcpy(grown, tar->map, tar->map_count * sizeof *grown);
    image_give(fs, tar->map, tar->map_capacity * sizeof *grown);
    tar->map = grown;
    tar->map_capacity = capacity;
  }
  tar->map[tar->map_count++] = (struct range){offset, length};
  return 0;
}

int sparse_old_entries(struct hutch_ext4 *fs, const uint8_t *fields, size_t count)
{
  for (size_t i = 0; i < count; i++, fields += 24) {
    int64_t offset, length;
    if (fields[0] == 0 && fields[12] == 0) break;
    if (!header_number(fields, 12, &offset) || !header_number(fields + 12, 12, &length) ||
        offset < 0 || length < 0)
      return image_error(fs, -EBADMSG, "its sparse map isn't made of numbers");
    int result = sparse_add(fs, (uint64_t)offset, (uint64_t)length);
    if (result < 0) return result;
  }
  return 0;
}

/* One number of a 1.0 map: first how many ranges, then offset and length of each. */
static int text_number(struct hutch_ext4 *fs, uint64_t number)
{
  struct tar *tar = fs->tar;
  if (tar->text_seen++ == 0) {
    if (number > MAX_RANGES)
      return image_error(fs, -EFBIG, "its sparse map has over %u ranges", MAX_RANGES);
    tar->text_wanted = 1 + number * 2;
    return 0;
  }
  if (tar->text_seen % 2 == 1) return sparse_add(fs, tar->text_offset, number);
  tar->text_offset = number;
  return 0;
}

int sparse_text(struct hutch_ext4 *fs, bool *done)
{
  struct tar *tar = fs->tar;
  for (size_t i = 0; i < TAR_BLOCK; i++) {
    if (tar->text_seen > 0 && tar->text_seen == tar->text_wanted) break;
    uint8_t byte = tar->block[i];
    if (byte >= '0' && byte <= '9' && tar->text_value <= (UINT64_MAX - 9) / 10) {
      tar->text_value = tar->text_value * 10 + (byte - '0');
      tar->text_digits = true;
      continue;
    }
    if (byte != '\n' || !tar->text_digits)
      return image_error(fs, -EBADMSG, "its sparse map isn't made of numbers");
    int result = text_number(fs, tar->text_value);
    if (result < 0) return result;
    tar->text_value = 0;
    tar->text_digits = false;
  }
  *done = tar->text_seen > 0 && tar->text_seen == tar->text_wanted;
  return 0;
}

int sparse_check(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  uint64_t end = 0, stored = 0, size = tar->entry.size;
  if (size > MAX_FILE_SIZE) return image_error(fs, -EFBIG, "it is larger than a file can be");
  for (size_t i = 0; i < tar->map_count; i++) {
    struct range range = tar->map[i];
    if (range.start < end || range.start > size || range.count > size - range.start)
      return image_error(fs, -EBADMSG, "its sparse map doesn't fit its size");
    end = range.start + range.count;
    stored += range.count;
  }
  if (stored != tar->left)
    return image_error(fs, -EBADMSG, "its sparse map doesn't fit its data");
  return 0;
}
