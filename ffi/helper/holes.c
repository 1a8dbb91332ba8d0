/* Holes of sparse files. See pack.h. */
#define _GNU_SOURCE 1
#include "pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int64_t hutch_next_data(const char *path, uint64_t offset)
{
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  off_t data = lseek(fd, (off_t)offset, SEEK_DATA);
  int64_t result = data;
  if (data < 0 && errno == ENXIO) result = lseek(fd, 0, SEEK_END);
  else if (data < 0) result = (int64_t)offset; /* a file system that doesn't know */
  close(fd);
  return result < (int64_t)offset ? (int64_t)offset : result;
}

static int add_extent(struct hutch_pack *pack, uint64_t start, uint64_t length, size_t *capacity)
{
  if (pack->extent_count == *capacity) {
    size_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    struct pack_extent *grown = realloc(pack->extents, wanted * sizeof *grown);
    if (grown == NULL) return pack_error(pack, -ENOMEM, "out of memory");
    pack->extents = grown;
    *capacity = wanted;
  }
  pack->extents[pack->extent_count++] = (struct pack_extent){start, length};
  return 0;
}

int pack_extents(struct hutch_pack *pack)
{
  uint64_t size = pack->file_status.stx_size;
  size_t capacity = 0;
  free(pack->extents);
  pack->extents = NULL;
  pack->extent_count = pack->extent = 0;
  pack->extent_at = 0;
  if (pack->file_status.stx_blocks >= (size + 511) / 512)
    return size == 0 ? 0 : add_extent(pack, 0, size, &capacity);
  for (uint64_t at = 0; at < size;) {
    off_t data = lseek(pack->file, (off_t)at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break; /* nothing but a hole is left */
    /* A file system that doesn't know of holes, or more of them than are worth the while. */
    if (data < 0 || pack->extent_count == PACK_MAX_RANGES - 1)
      return add_extent(pack, at, size - at, &capacity);
    off_t hole = lseek(pack->file, data, SEEK_HOLE);
    uint64_t end = hole < 0 || (uint64_t)hole > size ? size : (uint64_t)hole;
    if ((uint64_t)data >= end) break;
    int result = add_extent(pack, (uint64_t)data, end - (uint64_t)data, &capacity);
    if (result < 0) return result;
    at = end;
  }
  return 0;
}
