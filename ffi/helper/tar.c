/* Reads a tar as it comes, piece by piece, and gives its entries to layer.c.
 *
 * This is a parser of our own because libarchive's changes names that aren't UTF-8 in pax headers
 * and wants to be the one that pulls. It takes what GNU tar, Go, bsdtar, star and v7 write. */
#include "layer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLD_MAP_FIELDS 386u
#define OLD_MAP_MORE 482u
#define OLD_REAL_SIZE 483u
#define OLD_BLOCK_MORE 504u

static void expect_header(struct tar *tar)
{
  tar->state = TAR_HEADER;
  tar->fill = 0;
  tar->named = false;
}

static void skip(struct tar *tar, uint64_t bytes)
{
  expect_header(tar);
  if (bytes == 0) return;
  tar->left = bytes;
  tar->state = TAR_SKIP;
}

static int begin_extension(struct hutch_ext4 *fs, char kind)
{
  struct tar *tar = fs->tar;
  int64_t size;
  if (!header_number(tar->block + 124, 12, &size) || size < 0)
    return image_error(fs, -EBADMSG, "an extension header's size is no valid number");
  uint64_t padded = ((uint64_t)size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
  /* What holds for a whole archive (g) or names it (V) isn't for the image, as in Docker. */
  if (kind == 'g' || kind == 'V') {
    skip(tar, padded);
    return 0;
  }
  if (size > MAX_EXTENSION)
    return image_error(fs, -EFBIG, "an extension header is over %u bytes", MAX_EXTENSION);
  string_free(&tar->body);
  tar->body.bytes = malloc((size_t)size + 1);
  if (tar->body.bytes == NULL) return image_error(fs, -ENOMEM, "out of memory");
  tar->kind = kind;
  tar->left = (uint64_t)size;
  tar->padding = padded - (uint64_t)size;
  tar->state = TAR_BODY;
  return 0;
}

static int end_extension(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  struct text body = {tar->body.bytes, tar->body.length};
  int result;
  if (tar->kind == 'x' || tar->kind == 'X') {
    result = pax_apply(fs, body);
  } else {
    const char *end = memchr(body.bytes, 0, body.length);
    if (end != NULL) body.length = (size_t)(end - body.bytes);
    struct extension *extension = &tar->extension;
    result = string_set(fs, tar->kind == 'L' ? &extension->path : &extension->link, body);
  }
  string_free(&tar->body);
  if (result == 0) skip(tar, tar->padding);
  return result;
}

static int finish_entry(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  int result = tar->writer.inode == NULL ? 0 : data_end(fs, &tar->writer);
  tar->writer.inode = NULL;
  if (result == 0) skip(tar, tar->padding);
  return result;
}

/* The entry is known in full: puts it in the tree. Its data follows. */
static int begin_data(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  int result = sparse_check(fs);
  if (result < 0) return result;
  tar->entry.map = tar->map;
  tar->entry.map_count = tar->map_count;
  tar->map_index = 0;
  tar->map_done = 0;
  result = layer_apply(fs, &tar->entry, &tar->extension, &tar->writer);
  if (result < 0) return result;
  extension_reset(fs, &tar->extension);
  /* The path may have been the extension's. */
  tar->named = false;
  tar->state = TAR_DATA;
  return tar->left == 0 ? finish_entry(fs) : 0;
}

static int begin_old_map(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  int64_t size;
  if (!header_number(tar->block + OLD_REAL_SIZE, 12, &size) || size < 0)
    return image_error(fs, -EBADMSG, "its size is no valid number");
  tar->entry.size = (uint64_t)size;
  tar->map_count = 0;
  int result = sparse_old_entries(fs, tar->block + OLD_MAP_FIELDS, 4);
  if (result < 0) return result;
  if (tar->block[OLD_MAP_MORE] == 0) return begin_data(fs);
  tar->state = TAR_OLD_MAP;
  tar->fill = 0;
  return 0;
}

static int begin_entry(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  struct extension *extension = &tar->extension;
  bool old_sparse = tar->block[156] == 'S';
  int result = header_entry(fs);
  if (result < 0) return result;
  if (tar->entry.type == '0' && old_sparse) return begin_old_map(fs);
  if (tar->entry.type == '0' && extension->sparse_major == 1 && extension->sparse_minor == 0) {
    if (!extension->has_real_size) return image_error(fs, -EBADMSG, "its sparse size is missing");
    tar->entry.size = extension->real_size;
    tar->map_count = 0;
    tar->text_wanted = tar->text_seen = tar->text_value = 0;
    tar->text_digits = false;
    tar->state = TAR_TEXT_MAP;
    tar->fill = 0;
    return 0;
  }
  if (tar->entry.type == '0' && extension->has_map) {
    if (extension->has_real_size) tar->entry.size = extension->real_size;
    return begin_data(fs);
  }
  tar->map_count = 0;
  result = sparse_add(fs, 0, tar->left);
  return result < 0 ? result : begin_data(fs);
}

static int take_header(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  tar->fill = 0;
  if (header_is_zero(tar->block)) {
    if (tar->zero_block) tar->state = TAR_END;
    tar->zero_block = true;
    return 0;
  }
  if (tar->zero_block || !header_checksum_fits(tar->block))
    return image_error(fs, -EBADMSG, "it is no tar archive: a header's checksum is wrong");
  char kind = (char)tar->block[156];
  if (kind != 0 && strchr("LKxXgV", kind) != NULL) return begin_extension(fs, kind);
  return begin_entry(fs);
}

static int take_old_map(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  tar->fill = 0;
  int result = sparse_old_entries(fs, tar->block, 21);
  if (result < 0 || tar->block[OLD_BLOCK_MORE] != 0) return result;
  return begin_data(fs);
}

static int take_text_map(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  bool done = false;
  tar->fill = 0;
  if (tar->left < TAR_BLOCK) return image_error(fs, -EBADMSG, "its sparse map is cut short");
  tar->left -= TAR_BLOCK;
  int result = sparse_text(fs, &done);
  if (result < 0 || !done) return result;
  return begin_data(fs);
}

static int take_data(struct hutch_ext4 *fs, const uint8_t *bytes, size_t length)
{
  struct tar *tar = fs->tar;
  tar->left -= length;
  while (length > 0) {
    const struct range *range = &tar->map[tar->map_index];
    uint64_t rest = range->count - tar->map_done;
    if (rest == 0) {
      tar->map_index++;
      tar->map_done = 0;
      continue;
    }
    size_t part = rest < length ? (size_t)rest : length;
    int result = tar->writer.inode == NULL
                     ? 0
                     : data_write(fs, &tar->writer, range->start + tar->map_done, bytes, part);
    if (result < 0) return result;
    tar->map_done += part;
    bytes += part;
    length -= part;
  }
  return tar->left == 0 ? finish_entry(fs) : 0;
}

static int take_body(struct hutch_ext4 *fs, const uint8_t *bytes, size_t length)
{
  struct tar *tar = fs->tar;
  if (length > 0) memcpy(tar->body.bytes + tar->body.length, bytes, length);
  tar->body.length += length;
  tar->left -= length;
  return tar->left == 0 ? end_extension(fs) : 0;
}

/* Takes at least one byte, or ends a state that needs none. */
static int take(struct hutch_ext4 *fs, const uint8_t *bytes, size_t length, size_t *used)
{
  struct tar *tar = fs->tar;
  bool blocks = tar->state == TAR_HEADER || tar->state == TAR_OLD_MAP || tar->state == TAR_TEXT_MAP;
  uint64_t wanted = blocks ? TAR_BLOCK - tar->fill : tar->state == TAR_END ? length : tar->left;
  size_t part = wanted < length ? (size_t)wanted : length;
  *used = part;
  if (blocks) {
    memcpy(tar->block + tar->fill, bytes, part);
    tar->fill += part;
    if (tar->fill < TAR_BLOCK) return 0;
    if (tar->state == TAR_HEADER) return take_header(fs);
    return tar->state == TAR_OLD_MAP ? take_old_map(fs) : take_text_map(fs);
  }
  if (tar->state == TAR_BODY) return take_body(fs, bytes, part);
  if (tar->state == TAR_DATA) return take_data(fs, bytes, part);
  if (tar->state == TAR_SKIP && (tar->left -= part) == 0) expect_header(tar);
  return 0;
}

/* Makes the failure final, and says in which entry it was. */
static int fail(struct hutch_ext4 *fs, int result)
{
  char text[sizeof fs->error];
  fs->failed = result;
  snprintf(text, sizeof text, "%s", fs->error);
  if (fs->tar->named)
    image_error(fs, result, "layer entry \"%s\": %.400s", quote(fs->tar->entry.path).text, text);
  else
    image_error(fs, result, "layer %u: %.400s", fs->layer, text);
  return result;
}

void tar_free(struct hutch_ext4 *fs)
{
  struct tar *tar = fs->tar;
  if (tar == NULL) return;
  extension_reset(fs, &tar->extension);
  string_free(&tar->body);
  image_give(fs, tar->map, tar->map_capacity * sizeof *tar->map);
  image_give(fs, tar, sizeof *tar);
  fs->tar = NULL;
}

int hutch_ext4_layer_begin(hutch_ext4 *fs)
{
  int result = image_ready(fs);
  if (result < 0) return result;
  fs->tar = image_take(fs, sizeof *fs->tar);
  if (fs->tar == NULL) return fs->code;
  fs->layer++;
  space_reuse(&fs->space);
  return 0;
}

int hutch_ext4_layer_push(hutch_ext4 *fs, const uint8_t *bytes, size_t length)
{
  if (fs->failed < 0) return fs->failed;
  if (fs->tar == NULL) return image_error(fs, -EINVAL, "no layer is open");
  if (length > fs->options.max_bytes - fs->pushed) {
    fs->tar->named = false; /* whatever entry it is in, the layers in all are to blame */
    return fail(fs, image_error(fs, -EFBIG, "the image's layers are over %llu bytes unpacked",
                                (unsigned long long)fs->options.max_bytes));
  }
  fs->pushed += length;
  while (length > 0) {
    size_t used = 0;
    int result = take(fs, bytes, length, &used);
    if (result < 0) return fail(fs, result);
    bytes += used;
    length -= used;
  }
  return 0;
}

int hutch_ext4_layer_end(hutch_ext4 *fs)
{
  if (fs->failed < 0) return fs->failed;
  struct tar *tar = fs->tar;
  if (tar == NULL) return image_error(fs, -EINVAL, "no layer is open");
  struct extension none = {0};
  bool whole = tar->state == TAR_END || (tar->state == TAR_HEADER && tar->fill == 0 &&
                                         memcmp(&tar->extension, &none, sizeof none) == 0);
  if (!whole) {
    image_error(fs, -EBADMSG, "it ends in the middle of an entry");
    return fail(fs, -EBADMSG);
  }
  tar_free(fs);
  return 0;
}
