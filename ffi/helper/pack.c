/* Reading a folder as a tar: what comes next, and its bytes. See pack.h. */
#define _GNU_SOURCE 1
#include "pack.h"

#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MAX_ENTRIES 5000000u
#define WANTED (STATX_BASIC_STATS)
#define CHANGED "it changed while it was read"

int pack_error(struct hutch_pack *pack, int code, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(pack->error, sizeof pack->error, format, arguments);
  va_end(arguments);
  return code;
}

int pack_entry_error(struct hutch_pack *pack, int code, const char *problem)
{
  struct text path = {pack->path, pack->path_length};
  if (path.length == 0) return pack_error(pack, code, "%s", problem);
  return pack_error(pack, code, "entry \"%s\": %s", quote(path).text, problem);
}

static int system_error(struct hutch_pack *pack, int number)
{
  /* What was there a moment ago. */
  if (number == ENOENT || number == ENOTDIR || number == ELOOP)
    return pack_entry_error(pack, -ESTALE, CHANGED);
  return pack_entry_error(pack, -number, strerror(number));
}

static bool same_file(const struct statx *a, const struct statx *b)
{
  return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major &&
         a->stx_dev_minor == b->stx_dev_minor && (a->stx_mode & S_IFMT) == (b->stx_mode & S_IFMT);
}

static bool unchanged(const struct statx *a, const struct statx *b)
{
  return same_file(a, b) && a->stx_size == b->stx_size &&
         a->stx_mtime.tv_sec == b->stx_mtime.tv_sec && a->stx_mtime.tv_nsec == b->stx_mtime.tv_nsec;
}

static bool is_mount(const struct hutch_pack *pack, const struct statx *status)
{
#ifdef STATX_ATTR_MOUNT_ROOT
  if (status->stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
    return status->stx_attributes & STATX_ATTR_MOUNT_ROOT;
#endif
  /* Only folders' devices say something: overlayfs shows files with those of its layers. */
  struct statx parent;
  return S_ISDIR(status->stx_mode) &&
         statx(pack->stack[pack->depth - 1].fd, "", AT_EMPTY_PATH, WANTED, &parent) == 0 &&
         (parent.stx_dev_major != status->stx_dev_major ||
          parent.stx_dev_minor != status->stx_dev_minor);
}

/* Opens the present entry; it must be what was looked at. */
static int open_entry(struct hutch_pack *pack, const struct statx *seen, int flags)
{
  const char *name;
  int parent = pack_parent(pack, &name);
  /* Without waiting: a pipe may have taken its place. */
  int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags);
  if (fd < 0) return system_error(pack, errno);
  struct statx found;
  int result = 0;
  if (statx(fd, "", AT_EMPTY_PATH, WANTED, &found) < 0) result = system_error(pack, errno);
  else if (!unchanged(seen, &found)) result = pack_entry_error(pack, -ESTALE, CHANGED);
  if (result == 0) return fd;
  close(fd);
  return result;
}

static int begin_file(struct hutch_pack *pack, const struct statx *status)
{
  int fd = open_entry(pack, status, 0);
  if (fd < 0) return fd;
  pack->file = fd;
  pack->file_status = *status;
  int result = pack_extents(pack);
  if (result < 0) return result;
  uint64_t size = 0;
  for (size_t i = 0; i < pack->extent_count; i++) size += pack->extents[i].length;
  return pack_header(pack, status, '0', NULL, size);
}

static int begin_symlink(struct hutch_pack *pack, const struct statx *status)
{
  char target[PACK_MAX_PATH];
  const char *name;
  int parent = pack_parent(pack, &name);
  ssize_t length = readlinkat(parent, name, target, sizeof target);
  if (length < 0) return system_error(pack, errno == EINVAL ? ENOENT : errno);
  if (length == sizeof target) return pack_entry_error(pack, -EILSEQ, "its target is too long");
  target[length] = 0;
  return pack_header(pack, status, '2', target, 0);
}

static int begin_folder(struct hutch_pack *pack, const struct statx *status)
{
  int result = pack_header(pack, status, '5', NULL, 0);
  if (result < 0) return result;
  if (is_mount(pack, status)) {
    pack->left_out[1]++;
    return 0;
  }
  int fd = open_entry(pack, status, O_DIRECTORY);
  return fd < 0 ? fd : pack_enter(pack, fd);
}

static int begin_entry(struct hutch_pack *pack)
{
  struct statx status;
  const char *name, *link = NULL;
  int parent = pack_parent(pack, &name);
  if (strncmp(name, ".wh.", 4) == 0)
    return pack_entry_error(pack, -EILSEQ, "a layer can't hold a name that begins with .wh.");
  if (statx(parent, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, WANTED, &status) < 0)
    return system_error(pack, errno);
  if (S_ISDIR(status.stx_mode)) return begin_folder(pack, &status);
  if (S_ISSOCK(status.stx_mode)) {
    pack->left_out[0]++;
    return 0;
  }
  if (is_mount(pack, &status)) {
    pack->left_out[1]++;
    return 0;
  }
  int result = status.stx_nlink > 1 ? pack_known(pack, &status, &link) : 0;
  if (result < 0) return result;
  if (link != NULL) return pack_header(pack, &status, '1', link, 0);
  switch (status.stx_mode & S_IFMT) {
  case S_IFREG: return begin_file(pack, &status);
  case S_IFLNK: return begin_symlink(pack, &status);
  case S_IFCHR: return pack_header(pack, &status, '3', NULL, 0);
  case S_IFBLK: return pack_header(pack, &status, '4', NULL, 0);
  case S_IFIFO: return pack_header(pack, &status, '6', NULL, 0);
  default: return pack_entry_error(pack, -EILSEQ, "it is of an unknown kind");
  }
}

/* Steps to the next name; the end of the tar when there is none. */
static int next_entry(struct hutch_pack *pack)
{
  while (pack->depth > 0) {
    struct pack_folder *folder = &pack->stack[pack->depth - 1];
    if (folder->next == folder->count) {
      pack_leave(pack);
      continue;
    }
    const char *name = folder->names[folder->next++];
    size_t length = strlen(name);
    if (folder->path_length + length + 2 > sizeof pack->path)
      return pack_entry_error(pack, -EILSEQ, "a path below it is too long");
    if (folder->path_length > 0) pack->path[folder->path_length - 1] = '/';
    memcpy(pack->path + folder->path_length, name, length + 1);
    pack->path_length = folder->path_length + length;
    int result = begin_entry(pack);
    return result < 0 ? result : pack_mark(pack);
  }
  pack->ended = true;
  if (pack->earlier != NULL && pack->earlier->count != pack->marks->count)
    return pack_error(pack, -ESTALE, CHANGED);
  return bytes_zero(pack, &pack->head, 2 * PACK_BLOCK);
}

static int end_file(struct hutch_pack *pack)
{
  struct statx now;
  int result = statx(pack->file, "", AT_EMPTY_PATH, WANTED, &now) < 0 ? system_error(pack, errno)
               : unchanged(&pack->file_status, &now) ? 0
                                                     : pack_entry_error(pack, -ESTALE, CHANGED);
  close(pack->file);
  pack->file = -1;
  return result < 0 ? result : bytes_zero(pack, &pack->head, pack->padding);
}

/* Bytes of the open file; 0 when it is over. */
static int64_t read_file(struct hutch_pack *pack, uint8_t *buffer, size_t size)
{
  while (pack->extent < pack->extent_count) {
    struct pack_extent *extent = &pack->extents[pack->extent];
    uint64_t rest = extent->length - pack->extent_at;
    if (rest == 0) {
      pack->extent++;
      pack->extent_at = 0;
      continue;
    }
    size_t part = rest < size ? (size_t)rest : size;
    ssize_t got = pread(pack->file, buffer, part, (off_t)(extent->start + pack->extent_at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(pack, errno);
    if (got == 0) return pack_entry_error(pack, -ESTALE, CHANGED); /* it shrank */
    pack->extent_at += (uint64_t)got;
    return got;
  }
  return end_file(pack);
}

int64_t hutch_pack_read(hutch_pack *pack, uint8_t *buffer, size_t size)
{
  size_t done = 0;
  while (pack->failed == 0 && done < size) {
    int64_t result = 0;
    size_t part = bytes_move(pack->head.bytes, &pack->head.length, &pack->head_at, buffer + done, size - done);
    done += part;
    if (part > 0) continue;
    if (pack->file >= 0) result = read_file(pack, buffer + done, size - done);
    else if (pack->ended) break;
    else result = next_entry(pack);
    if (result > 0) done += (size_t)result;
    else if (result < 0) pack->failed = (int)result;
  }
  return pack->failed < 0 ? pack->failed : (int64_t)done;
}

static int begin(struct hutch_pack *pack, const char *path, const hutch_pack *earlier)
{
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct statx status;
  int result = statx(fd, "", AT_EMPTY_PATH, WANTED, &status) < 0 ? -errno : 0;
  if (result < 0) {
    close(fd);
    return result;
  }
  pack->marks = calloc(1, sizeof *pack->marks);
  if (pack->marks == NULL) {
    close(fd);
    return -ENOMEM;
  }
  pack->marks->users = 1;
  if (earlier != NULL) {
    pack->earlier = pack->held = earlier->marks;
    pack->held->users++;
  }
  if ((result = pack_enter(pack, fd)) < 0) return result;
  if ((result = pack_header(pack, &status, '5', NULL, 0)) < 0) return result;
  return pack_mark(pack);
}

int hutch_pack_open(const char *path, const struct hutch_pack_options *options,
                    const hutch_pack *earlier, hutch_pack **out)
{
  *out = NULL;
  hutch_pack *pack = calloc(1, sizeof *pack);
  if (pack == NULL) return -ENOMEM;
  pack->file = -1;
  pack->options = *options;
  if (pack->options.max_entries == 0) pack->options.max_entries = DEFAULT_MAX_ENTRIES;
  size_t size = options->ranges * sizeof *pack->ranges;
  pack->ranges = malloc(size + 1);
  int result = pack->ranges == NULL ? -ENOMEM : 0;
  if (result == 0) {
    memcpy(pack->ranges, options + 1, size);
    result = begin(pack, path, earlier);
  }
  /* What it found is told by the first read. */
  if (result < 0 && pack->error[0] != 0) {
    pack->failed = result;
    result = 0;
  }
  if (result < 0) hutch_pack_close(pack);
  else *out = pack;
  return result;
}

uint64_t hutch_pack_left_out(const hutch_pack *pack, uint32_t what)
{
  return what < 2 ? pack->left_out[what] : 0;
}

const char *hutch_pack_error(const hutch_pack *pack)
{
  return pack->error;
}

static void let_go(struct pack_marks *marks)
{
  if (marks == NULL || --marks->users > 0) return;
  free(marks->values);
  free(marks);
}

void hutch_pack_close(hutch_pack *pack)
{
  if (pack == NULL) return;
  while (pack->depth > 0) pack_leave(pack);
  if (pack->file >= 0) close(pack->file);
  for (size_t i = 0; i < pack->link_capacity; i++) free(pack->links[i].path);
  free(pack->links);
  free(pack->extents);
  free(pack->head.bytes);
  free(pack->ranges);
  let_go(pack->held);
  let_go(pack->marks);
  free(pack);
}
