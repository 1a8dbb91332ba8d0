/* The image's handle: making, errors, memory, single entries. */
#define _GNU_SOURCE
#include "image.h"
#include "layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_BYTES (UINT64_C(64) << 30)
#define DEFAULT_ENTRIES 5000000u
#define DEFAULT_MEMORY (UINT64_C(2) << 30)
#define QUOTED_BYTES 200u

int image_error(struct hutch_ext4 *fs, int code, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fs->error, sizeof fs->error, format, arguments);
  va_end(arguments);
  fs->code = code;
  return code;
}

void *image_take(struct hutch_ext4 *fs, size_t size)
{
  if (size > fs->options.max_memory - fs->memory) {
    image_error(fs, -EFBIG, "the image's names and attributes are over %llu bytes",
                (unsigned long long)fs->options.max_memory);
    return NULL;
  }
  void *memory = calloc(1, size == 0 ? 1 : size);
  if (memory == NULL) image_error(fs, -ENOMEM, "out of memory");
  else fs->memory += size;
  return memory;
}

void image_give(struct hutch_ext4 *fs, void *memory, size_t size)
{
  if (memory == NULL) return;
  free(memory);
  fs->memory -= size;
}

struct quoted quote(struct text name)
{
  struct quoted quoted;
  size_t at = 0, shown = name.length < QUOTED_BYTES ? name.length : QUOTED_BYTES;
  for (size_t i = 0; i < shown && at < sizeof quoted.text - 8; i++) {
    unsigned char byte = (unsigned char)name.bytes[i];
    if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') quoted.text[at++] = (char)byte;
    else at += (size_t)snprintf(quoted.text + at, 5, "\\x%02x", byte);
    if (i + 1 == shown || at >= sizeof quoted.text - 8)
      if (i + 1 < name.length) at += (size_t)snprintf(quoted.text + at, 4, "...");
  }
  quoted.text[at] = 0;
  return quoted;
}

static int init(hutch_ext4 *fs, const char *path, const struct hutch_ext4_options *options)
{
  fs->options = *options;
  if (fs->options.max_bytes == 0) fs->options.max_bytes = DEFAULT_BYTES;
  if (fs->options.max_entries == 0) fs->options.max_entries = DEFAULT_ENTRIES;
  if (fs->options.max_memory == 0) fs->options.max_memory = DEFAULT_MEMORY;
  space_init(&fs->space);
  fs->path = strdup(path);
  if (fs->path == NULL) return -ENOMEM;
  int result = tree_init(fs);
  if (result < 0) return result;
  result = output_init(&fs->output, -1);
  if (result < 0) return result;
  fs->output.file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  return fs->output.file < 0 ? -errno : 0;
}

int hutch_ext4_create(const char *path, const struct hutch_ext4_options *options, hutch_ext4 **out)
{
  *out = NULL;
  hutch_ext4 *fs = calloc(1, sizeof *fs);
  if (fs == NULL) return -ENOMEM;
  fs->output.file = -1;
  int result = init(fs, path, options);
  if (result < 0) hutch_ext4_close(fs);
  else *out = fs;
  return result;
}

void hutch_ext4_close(hutch_ext4 *fs)
{
  if (fs == NULL) return;
  tar_free(fs);
  tree_release(fs);
  space_release(&fs->space);
  output_release(&fs->output);
  free(fs->path);
  free(fs);
}

const char *hutch_ext4_error(const hutch_ext4 *fs)
{
  return fs->error;
}

/* Whether single entries and finish may be called. */
int image_ready(struct hutch_ext4 *fs)
{
  if (fs->failed < 0) return fs->failed;
  if (fs->finished) return image_error(fs, -EINVAL, "the image is finished");
  if (fs->tar != NULL) return image_error(fs, -EINVAL, "a layer is still open");
  return 0;
}

/* Finds the place for a new entry. */
static int place(struct hutch_ext4 *fs, const char *path, struct node **parent, struct text *name)
{
  int result = image_ready(fs);
  if (result < 0) return result;
  if (path[0] != '/') return image_error(fs, -EINVAL, "\"%s\" isn't absolute", path);
  result = path_parent(fs, (struct text){path, strlen(path)}, false, parent, name);
  if (result == -ENOENT) return image_error(fs, -ENOENT, "the folder of \"%s\" is missing", path);
  if (result == -EBADMSG) return -EINVAL;
  if (result < 0) return result;
  if (name->length == 0 || tree_find(&fs->tree, *parent, *name) != NULL)
    return image_error(fs, -EEXIST, "\"%s\" is there already", path);
  return 0;
}

/* A failure after the tree was changed leaves it unusable. */
static int settle(struct hutch_ext4 *fs, int result)
{
  if (result < 0) fs->failed = result;
  return result;
}

int hutch_ext4_mkdir(hutch_ext4 *fs, const char *path, uint32_t mode)
{
  struct node *parent;
  struct text name;
  int result = place(fs, path, &parent, &name);
  if (result < 0) return result;
  struct node *node = tree_add(fs, parent, name, NULL, S_IFDIR | (mode & 07777));
  return node == NULL ? settle(fs, fs->code) : 0;
}

int hutch_ext4_file(hutch_ext4 *fs, const char *path, uint32_t mode, const uint8_t *bytes,
                    size_t length)
{
  struct node *parent;
  struct text name;
  int result = place(fs, path, &parent, &name);
  if (result < 0) return result;
  struct node *node = tree_add(fs, parent, name, NULL, S_IFREG | (mode & 07777));
  if (node == NULL) return settle(fs, fs->code);
  node->inode->size = length;
  struct range map = {0, length};
  result = data_allocate(fs, node->inode, &map, 1);
  if (result < 0) return settle(fs, result);
  struct writer writer;
  data_begin(&writer, node->inode);
  result = data_write(fs, &writer, 0, bytes, length);
  if (result == 0) result = data_end(fs, &writer);
  return settle(fs, result);
}

int hutch_ext4_symlink(hutch_ext4 *fs, const char *path, const char *target)
{
  struct node *parent;
  struct text name;
  int result = place(fs, path, &parent, &name);
  if (result < 0) return result;
  size_t length = strlen(target);
  if (length == 0 || length >= BLOCK_SIZE)
    return image_error(fs, -EINVAL, "the target of \"%s\" has %zu bytes", path, length);
  struct node *node = tree_add(fs, parent, name, NULL, S_IFLNK | 0777);
  if (node == NULL) return settle(fs, fs->code);
  return settle(fs, symlink_set(fs, node->inode, (struct text){target, length}));
}
