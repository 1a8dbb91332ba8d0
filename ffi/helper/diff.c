/* A layer out of two disks: opening, and the tar's bytes. See diff.h. */
#define _GNU_SOURCE 1
#include "diff.h"

#include "image.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int diff_error(hutch_diff *diff, int code, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(diff->error, sizeof diff->error, format, arguments);
  va_end(arguments);
  return code;
}

int diff_path_error(hutch_diff *diff, int code, const char *problem)
{
  struct text path = {diff->path, strlen(diff->path)};
  if (path.length == 0) return diff_error(diff, code, "%s", problem);
  return diff_error(diff, code, "entry \"%s\": %s", quote(path).text, problem);
}

static int open_reader(hutch_diff *diff, struct ext4_reader *fs, const char *files, size_t length)
{
  hutch_chain *chain;
  int result = hutch_chain_open(files, length, &chain);
  if (chain == NULL) return diff_error(diff, -ENOMEM, "out of memory");
  fs->chain = chain;
  if (result < 0) return diff_error(diff, result, "%s", hutch_chain_error(chain));
  result = ext4_open(fs, chain);
  return result < 0 ? diff_error(diff, result, "%s", fs->error) : 0;
}

/* Where the last of the files begins. */
static size_t lowest(const char *files, size_t length)
{
  size_t at = length;
  if (length < 2) return 0;
  for (at = length - 1; at > 0 && files[at - 1] != 0;) at--;
  return at;
}

static int open_both(hutch_diff *diff, const char *files, size_t length)
{
  int result = open_reader(diff, &diff->disk, files, length);
  if (result < 0 || !diff->has_base) return result;
  size_t at = lowest(files, length);
  result = open_reader(diff, &diff->base, files + at, length - at);
  if (result < 0) return result;
  if (diff->base.block_size == diff->disk.block_size) return 0;
  return diff_error(diff, -ENOTSUP, "it has another file system than its image");
}

static int pack_attribute(void *context, const char *name, const uint8_t *value, size_t length)
{
  void **both = context;
  char key[400];
  snprintf(key, sizeof key, "SCHILY.xattr.%s", name);
  return pack_record(both[0], both[1], key, value, length);
}

/* For pack_header: the present inode's attributes. */
static int add_attributes(struct hutch_pack *pack, struct pack_bytes *records)
{
  hutch_diff *diff = pack->owner;
  void *both[2] = {pack, records};
  if (diff->inode.number == 0) return 0;
  return ext4_attributes(&diff->disk, &diff->inode, pack_attribute, both);
}

int hutch_diff_open(const char *files, size_t length, int whole, uint64_t max_entries,
                    const int32_t *cancelled, hutch_diff **out)
{
  hutch_diff *diff = *out = calloc(1, sizeof *diff);
  if (diff == NULL) return -ENOMEM;
  diff->has_base = whole == 0;
  diff->max_entries = max_entries == 0 ? DIFF_MAX_ENTRIES : max_entries;
  diff->cancelled = cancelled;
  diff->pack = calloc(1, sizeof *diff->pack);
  if (diff->pack == NULL) return diff_error(diff, -ENOMEM, "out of memory");
  diff->pack->file = -1;
  diff->pack->owner = diff;
  diff->pack->attributes = add_attributes;
  int result = open_both(diff, files, length);
  return result < 0 ? result : diff_walk(diff);
}

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

static int header(hutch_diff *diff, char type, const char *link, uint64_t size)
{
  struct statx status = status_of(&diff->inode);
  int result = pack_header(diff->pack, &status, type, link, size);
  if (result < 0 && diff->pack->error[0] != 0) diff_error(diff, result, "%s", diff->pack->error);
  else if (result < 0) diff_path_error(diff, result, diff->disk.error);
  return result;
}

/* A sparse file is as long as its map says, also where it ends in a hole. */
static int begin_file(hutch_diff *diff)
{
  int result = map_file(diff);
  struct hutch_pack *pack = diff->pack;
  if (result < 0) return result;
  uint64_t data = data_of(pack);
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

static int begin_item(hutch_diff *diff)
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

uint64_t hutch_diff_count(const hutch_diff *diff, uint32_t what)
{
  return what == 0 ? diff->item_count : what == 1 ? diff->whiteouts : diff->sockets;
}

const char *hutch_diff_error(const hutch_diff *diff)
{
  return diff->error;
}

void hutch_diff_close(hutch_diff *diff)
{
  if (diff == NULL) return;
  for (size_t i = 0; i < diff->item_count; i++) free(diff->items[i].path);
  free(diff->items);
  free(diff->files);
  free(diff->stack);
  ext4_extents_release(&diff->extents);
  if (diff->pack != NULL) {
    free(diff->pack->extents);
    free(diff->pack->head.bytes);
    free(diff->pack);
  }
  ext4_close(&diff->disk);
  ext4_close(&diff->base);
  free(diff);
}
