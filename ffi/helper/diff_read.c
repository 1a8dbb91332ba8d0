/* A layer out of two disks: the tar's bytes. See diff.h. */
#define _GNU_SOURCE 1
#include "diff.h"

#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int reader_error(hutch_diff *diff, int code)
{
  return code < 0 ? diff_path_error(diff, code, diff->disk.error) : 0;
}

/* Where the file holds data, and as much of it as it has. */
static int map_file(hutch_diff *diff)
{
  struct hutch_pack *pack = diff->pack;
  ext4_extents_release(&diff->extents);
  diff->extent = 0;
  diff->extent_at = 0;
  int result = reader_error(diff, ext4_map(&diff->disk, &diff->inode, &diff->extents));
  if (result < 0) return result;
  free(pack->extents);
  pack->extents = calloc(diff->extents.count + 2, sizeof *pack->extents);
  pack->extent_count = 0;
  if (pack->extents == NULL) return diff_error(diff, -ENOMEM, "out of memory");
  uint64_t size = diff->inode.size, block = diff->disk.block_size;
  for (size_t i = 0; i < diff->extents.count; i++) {
    uint64_t start = diff->extents.list[i].logical * block;
    uint64_t bytes = diff->extents.list[i].count * block;
    if (start >= size) break;
    if (bytes > size - start) bytes = size - start;
    struct pack_extent *last = pack->extent_count == 0 ? NULL : &pack->extents[pack->extent_count - 1];
    if (last != NULL && last->start + last->length == start) last->length += bytes;
    else pack->extents[pack->extent_count++] = (struct pack_extent){start, bytes};
  }
  return 0;
}

static uint64_t data_of(const struct hutch_pack *pack)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < pack->extent_count; i++) sum += pack->extents[i].length;
  return sum;
}

static struct statx status_of(const struct ext4_inode *inode)
{
  struct statx status = {.stx_mode = (uint16_t)inode->mode, .stx_uid = inode->uid,
                         .stx_gid = inode->gid, .stx_size = inode->size};
  status.stx_mtime.tv_sec = inode->seconds;
  status.stx_mtime.tv_nsec = inode->nanos;
  status.stx_rdev_major = ext4_device(inode, &status.stx_rdev_minor);
  return status;
}

/* What all files of the disk can hold at most: no block is of two of them. */
static uint64_t room_of(const struct ext4_reader *fs)
{
  return fs->block_count * fs->block_size;
}

static int header(hutch_diff *diff, char type, const char *link, uint64_t size)
{
  struct statx status = status_of(&diff->inode);
  int result = pack_header(diff->pack, &status, type, link, size);
  if (result < 0 && diff->pack->error[0] != 0) diff_error(diff, result, "%s", diff->pack->error);
  else if (result < 0) diff_path_error(diff, result, diff->disk.error);
  return result;
}

/* Files that share blocks could be any number of bytes, where the disk has few. */
static int count_data(hutch_diff *diff, uint64_t bytes)
{
  uint64_t room = room_of(&diff->disk);
  if (bytes > room - diff->data)
    return diff_path_error(diff, -EFBIG, "up to here the files have more data than the disk has room for");
  diff->data += bytes;
  return 0;
}

/* The same of attributes, which files may well share, and of maps of sparse files. */
static int count_headers(hutch_diff *diff)
{
  uint64_t most = room_of(&diff->disk) + diff->item_count * (uint64_t)DIFF_HEADERS;
  diff->headers += diff->pack->head.length;
  if (diff->headers <= most) return 0;
  return diff_path_error(diff, -EFBIG, "up to here the attributes are more than the disk has room for");
}

/* A sparse file is as long as its map says, also where it ends in a hole. */
static int begin_file(hutch_diff *diff)
{
  int result = map_file(diff);
  struct hutch_pack *pack = diff->pack;
  if (result < 0) return result;
  uint64_t data = data_of(pack);
  result = count_data(diff, data);
  if (result < 0) return result;
  if (data != diff->inode.size) {
    const struct pack_extent *last =
        pack->extent_count == 0 ? NULL : &pack->extents[pack->extent_count - 1];
    if (last == NULL || last->start + last->length < diff->inode.size)
      pack->extents[pack->extent_count++] = (struct pack_extent){diff->inode.size, 0};
  }
  diff->open = true;
  return header(diff, '0', NULL, data);
}

static int begin_entry(hutch_diff *diff, const struct diff_item *item)
{
  char target[PACK_MAX_PATH];
  int result = reader_error(diff, ext4_inode(&diff->disk, item->inode, &diff->inode));
  if (result < 0) return result;
  switch (diff->inode.mode & S_IFMT) {
  case S_IFREG: return begin_file(diff);
  case S_IFDIR: return header(diff, '5', NULL, 0);
  case S_IFCHR: return header(diff, '3', NULL, 0);
  case S_IFBLK: return header(diff, '4', NULL, 0);
  case S_IFIFO: return header(diff, '6', NULL, 0);
  case S_IFLNK:
    result = reader_error(diff, ext4_target(&diff->disk, &diff->inode, target, sizeof target));
    return result < 0 ? result : header(diff, '2', target, 0);
  default: return diff_path_error(diff, -EBADMSG, "it is of an unknown kind");
  }
}

static int begin_header(hutch_diff *diff)
{
  const struct diff_item *item = &diff->items[diff->item++];
  diff->path_length = strlen(item->path);
  memcpy(diff->path, item->path, diff->path_length + 1);
  memcpy(diff->pack->path, item->path, diff->path_length + 1);
  diff->pack->path_length = diff->path_length;
  if (item->kind == DIFF_ENTRY) return begin_entry(diff, item);
  if (item->kind == DIFF_LINK) {
    int result = reader_error(diff, ext4_inode(&diff->disk, item->inode, &diff->inode));
    return result < 0 ? result : header(diff, '1', diff->items[item->first].path, 0);
  }
  diff->inode = (struct ext4_inode){.mode = S_IFREG};
  diff->pack->extent_count = 0;
  return header(diff, '0', NULL, 0);
}

static int begin_item(hutch_diff *diff)
{
  int result = begin_header(diff);
  return result < 0 ? result : count_headers(diff);
}

/* Bytes of the open file; 0 when it is over. */
static int64_t read_file(hutch_diff *diff, uint8_t *buffer, size_t size)
{
  struct ext4_reader *fs = &diff->disk;
  while (diff->extent < diff->extents.count) {
    const struct ext4_extent *extent = &diff->extents.list[diff->extent];
    uint64_t start = extent->logical * fs->block_size, length = extent->count * fs->block_size;
    if (start >= diff->inode.size) break;
    if (length > diff->inode.size - start) length = diff->inode.size - start;
    uint64_t rest = length - diff->extent_at;
    if (rest == 0) {
      diff->extent++;
      diff->extent_at = 0;
      continue;
    }
    uint64_t within = diff->extent_at % fs->block_size;
    const uint8_t *block;
    size_t part = rest < size ? (size_t)rest : size;
    if (fs->journal.block_count == 0) {
      uint64_t at = extent->start * fs->block_size + diff->extent_at;
      if (hutch_chain_read(fs->chain, at, buffer, part) < 0)
        return diff_path_error(diff, -EIO, hutch_chain_error(fs->chain));
    } else {
      int result = ext4_kept_block(fs, extent->start + diff->extent_at / fs->block_size, &block);
      if (result < 0) return reader_error(diff, result);
      if (part > fs->block_size - within) part = (size_t)(fs->block_size - within);
      memcpy(buffer, block + within, part);
    }
    diff->extent_at += part;
    return (int64_t)part;
  }
  diff->open = false;
  return bytes_zero(diff->pack, &diff->pack->head, diff->pack->padding);
}

int64_t hutch_diff_read(hutch_diff *diff, uint8_t *buffer, size_t size)
{
  struct hutch_pack *pack = diff->pack;
  size_t done = 0;
  while (diff->failed == 0 && done < size) {
    int64_t result = 0;
    diff->failed = diff_go_on(diff);
    if (diff->failed < 0) break;
    size_t part = bytes_move(pack->head.bytes, &pack->head.length, &pack->head_at, buffer + done, size - done);
    done += part;
    if (part > 0) continue;
    if (diff->open) result = read_file(diff, buffer + done, size - done);
    else if (diff->item < diff->item_count) result = begin_item(diff);
    else if (diff->ended) break;
    else {
      diff->ended = true;
      result = bytes_zero(pack, &pack->head, 2 * PACK_BLOCK);
    }
    if (result > 0) done += (size_t)result;
    else if (result < 0) diff->failed = (int)result;
  }
  return diff->failed < 0 ? diff->failed : (int64_t)done;
}
