/* A file's content: blocks for it, and its bytes into them. */
#include "image.h"

#include <errno.h>
#include <string.h>

/* Longest extent of initialised blocks. */
#define MAX_EXTENT 32768u

static int add_extent(struct hutch_ext4 *fs, struct inode *inode, struct extent extent)
{
  uint32_t count = inode->extent_count;
  struct extent *extents = count > 1 ? inode->extents : &inode->only;
  struct extent *last = count > 0 ? &extents[count - 1] : NULL;
  if (last != NULL && last->logical + last->count == extent.logical &&
      last->start + last->count == extent.start && last->count + extent.count <= MAX_EXTENT) {
    last->count += extent.count;
    return 0;
  }
  if (count > 0 && (count & (count - 1)) == 0) { /* a power of two: the array is full */
    struct extent *grown = image_take(fs, (size_t)count * 2 * sizeof *grown);
    if (grown == NULL) return fs->code;
    memcpy(grown, extents, count * sizeof *grown);
    if (count > 1) image_give(fs, extents, count * sizeof *grown);
    inode->extents = extents = grown;
  }
  extents[inode->extent_count++] = extent;
  return 0;
}

int data_blocks(struct hutch_ext4 *fs, struct inode *inode, uint64_t first, uint64_t count)
{
  while (count > 0) {
    uint64_t start;
    uint64_t got = space_take(&fs->space, count < MAX_EXTENT ? count : MAX_EXTENT, &start);
    if (got == 0) return image_error(fs, -EFBIG, "the image would be over %llu GiB",
                                     (unsigned long long)(MAX_BLOCKS >> 18));
    struct extent extent = {(uint32_t)first, (uint32_t)got, start};
    int result = add_extent(fs, inode, extent);
    if (result < 0) return result;
    inode->blocks += (uint32_t)got;
    first += got;
    count -= got;
  }
  return 0;
}

int data_allocate(struct hutch_ext4 *fs, struct inode *inode, const struct range *map,
                  size_t count)
{
  uint64_t next = 0; /* first block not allocated yet */
  for (size_t i = 0; i < count; i++) {
    if (map[i].count == 0) continue;
    uint64_t first = map[i].start / BLOCK_SIZE;
    uint64_t end = (map[i].start + map[i].count + BLOCK_SIZE - 1) / BLOCK_SIZE;
    if (first < next) first = next;
    if (first >= end) continue;
    uint64_t stored = (end - first) * BLOCK_SIZE;
    if (stored > fs->options.max_bytes - fs->bytes)
      return image_error(fs, -EFBIG, "the image's files are over %llu bytes",
                         (unsigned long long)fs->options.max_bytes);
    fs->bytes += stored;
    int result = data_blocks(fs, inode, first, end - first);
    if (result < 0) return result;
    next = end;
  }
  return 0;
}

void data_begin(struct writer *writer, struct inode *inode)
{
  *writer = (struct writer){.inode = inode};
}

/* Writes bytes (NULL: zeros) from `done` up to `until` into what is allocated there. */
static int fill(struct hutch_ext4 *fs, struct writer *writer, uint64_t until, const uint8_t *bytes)
{
  while (writer->index < writer->inode->extent_count && writer->done < until) {
    const struct extent *extent = &inode_extents(writer->inode)[writer->index];
    uint64_t begin = (uint64_t)extent->logical * BLOCK_SIZE;
    uint64_t end = begin + (uint64_t)extent->count * BLOCK_SIZE;
    if (writer->done < begin) {
      if (begin >= until) break;
      if (bytes != NULL) return image_error(fs, -EIO, "bytes outside of their file's blocks");
      writer->done = begin;
    }
    uint64_t length = (end < until ? end : until) - writer->done;
    uint64_t position = extent->start * BLOCK_SIZE + (writer->done - begin);
    int result = bytes == NULL ? output_zero(&fs->output, position, length)
                               : output_write(&fs->output, position, bytes, (size_t)length);
    if (result < 0) return image_error(fs, result, "%s", strerror(-result));
    if (bytes != NULL) bytes += length;
    writer->done += length;
    if (writer->done == end) writer->index++;
  }
  if (writer->done < until) writer->done = until;
  return 0;
}

int data_write(struct hutch_ext4 *fs, struct writer *writer, uint64_t offset, const uint8_t *bytes,
               size_t length)
{
  int result = fill(fs, writer, offset, NULL);
  return result < 0 ? result : fill(fs, writer, offset + length, bytes);
}

int data_end(struct hutch_ext4 *fs, struct writer *writer)
{
  return fill(fs, writer, UINT64_MAX, NULL);
}
