/* From files to a tar, piece by piece. See copy.h. */
#define _GNU_SOURCE 1
#include "pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Of files whose length the system doesn't know before they are read, such as those of /proc. */
#define MAX_UNKNOWN (4u * 1024 * 1024)
/* A type that a tar doesn't have. */
#define SOCKET 's'
/* Without waiting: a fifo may have taken a file's place. */
#define READING (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

int copy_pack_error(struct copy_pack *pack, int code, const char *doing)
{
  return copy_fail(&pack->failure, code, pack->path, "%s", doing);
}

int copy_bytes_add(struct copy_pack *pack, struct copy_bytes *to, const void *bytes, size_t length)
{
  if (length > to->capacity - to->length) {
    size_t capacity = (to->length + length) * 2;
    uint8_t *larger = realloc(to->bytes, capacity);
    if (larger == NULL) return copy_pack_error(pack, ENOMEM, "hold its header");
    to->bytes = larger;
    to->capacity = capacity;
  }
  if (length > 0) memcpy(to->bytes + to->length, bytes, length);
  to->length += length;
  return 0;
}

struct copy_pack *copy_pack_open(const char *source, const char *name, const struct copy_pack_options *options)
{
  struct copy_pack *pack = calloc(1, sizeof *pack);
  if (pack == NULL) return NULL;
  pack->flags = options->flags;
  pack->owner = options->owner;
  pack->file = pack->parent = -1;
  pack->source = strdup(source);
  pack->name = strdup(name);
  if (pack->source != NULL && pack->name != NULL) return pack;
  copy_pack_close(pack);
  return NULL;
}

static int at_of(const struct copy_pack *pack)
{
  return pack->parent < 0 ? AT_FDCWD : pack->parent;
}

static int open_entry(const struct copy_pack *pack, int flags)
{
  int fd = openat(at_of(pack), pack->leaf, READING | flags | (pack->flags & COPY_FOLLOW ? 0 : O_NOFOLLOW));
  return fd < 0 ? -errno : fd;
}

/* Fills `status`; says so where it isn't there. */
static int look(struct copy_pack *pack)
{
  int flags = pack->flags & COPY_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW;
  if (fstatat(at_of(pack), pack->leaf, &pack->status, flags) == 0) return 0;
  struct stat link;
  int code = errno;
  /* A link that leads nowhere is there all the same. */
  if (code == ENOENT && pack->parent >= 0 && fstatat(pack->parent, pack->leaf, &link, AT_SYMLINK_NOFOLLOW) < 0)
    return -ENOENT;
  return copy_pack_error(pack, code, pack->parent < 0 ? "find it" : "look at it");
}

static bool is_ancestor(const struct copy_pack *pack, const struct stat *status)
{
  for (size_t i = 0; i < pack->depth; i++)
    if (pack->folders[i].inode == status->st_ino && pack->folders[i].device == status->st_dev) return true;
  return false;
}

static int enter(struct copy_pack *pack)
{
  if (is_ancestor(pack, &pack->status)) return copy_pack_error(pack, ELOOP, "a link in it leads back to it");
  if (pack->depth == COPY_MAX_DEPTH) return copy_pack_error(pack, ELOOP, "the folders are more than 256 within one another");
  int fd = open_entry(pack, O_DIRECTORY);
  if (fd < 0) return copy_pack_error(pack, -fd, "open the folder");
  DIR *names = fdopendir(fd);
  if (names == NULL) {
    close(fd);
    return copy_pack_error(pack, ENOMEM, "read the folder");
  }
  pack->folders[pack->depth++] = (struct copy_folder){names, strlen(pack->path), pack->status.st_dev, pack->status.st_ino};
  return 0;
}

/* Reads a file that says it is empty, and may not be. */
static int read_unknown(struct copy_pack *pack, struct copy_bytes *content)
{
  uint8_t buffer[4096];
  for (;;) {
    ssize_t got = read(pack->file, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return copy_pack_error(pack, errno, "read it");
    if (got == 0) return 0;
    if (content->length + (size_t)got > MAX_UNKNOWN) return copy_pack_error(pack, EFBIG, "read it: its size isn't known before");
    int result = copy_bytes_add(pack, content, buffer, (size_t)got);
    if (result < 0) return result;
  }
}

static int begin_file(struct copy_pack *pack)
{
  int fd = open_entry(pack, 0);
  struct stat now;
  if (fd < 0) return copy_pack_error(pack, -fd, "open it");
  pack->file = fd;
  if (fstat(fd, &now) < 0) return copy_pack_error(pack, errno, "look at it");
  if (!S_ISREG(now.st_mode)) return copy_pack_error(pack, ESTALE, "it was replaced while it was read");
  pack->left = (uint64_t)now.st_size;
  struct copy_bytes content = {0};
  int result = now.st_size == 0 ? read_unknown(pack, &content) : 0;
  pack->entry.size = pack->left > 0 ? pack->left : content.length;
  pack->padding = (TAR_BLOCK - pack->entry.size % TAR_BLOCK) % TAR_BLOCK;
  if (result == 0) result = copy_pack_header(pack);
  if (result == 0) result = copy_bytes_add(pack, &pack->head, content.bytes, content.length);
  pack->bytes += content.length;
  free(content.bytes);
  return result;
}

static char kind_of(mode_t mode)
{
  return S_ISREG(mode) ? '0' : S_ISLNK(mode) ? '2' : S_ISCHR(mode) ? '3' : S_ISBLK(mode) ? '4'
       : S_ISDIR(mode) ? '5' : S_ISFIFO(mode) ? '6' : SOCKET;
}

static int describe(struct copy_pack *pack)
{
  const struct stat *status = &pack->status;
  struct copy_entry *entry = &pack->entry;
  *entry = (struct copy_entry){
    .type = kind_of(status->st_mode), .path = pack->path, .mode = status->st_mode & 07777,
    .seconds = status->st_mtim.tv_sec, .nanos = (uint32_t)status->st_mtim.tv_nsec,
    .size = S_ISREG(status->st_mode) ? (uint64_t)status->st_size : 0,
  };
  if (entry->type == '3' || entry->type == '4') {
    entry->major = major(status->st_rdev);
    entry->minor = minor(status->st_rdev);
  }
  if (!copy_owner_map(&pack->owner, status->st_uid, false, &entry->uid) ||
      !copy_owner_map(&pack->owner, status->st_gid, true, &entry->gid))
    return copy_pack_error(pack, EINVAL, "its owner isn't in the map of owners");
  return 0;
}

static int put_link(struct copy_pack *pack)
{
  ssize_t length = readlinkat(at_of(pack), pack->leaf, pack->target, sizeof pack->target - 1);
  if (length < 0) return copy_pack_error(pack, errno, "read the link");
  pack->target[length] = '\0';
  pack->entry.link = pack->target;
  return copy_pack_header(pack);
}

/* The present entry is wanted. */
static int put_entry(struct copy_pack *pack)
{
  struct copy_entry *entry = &pack->entry;
  const char *known = NULL;
  if (entry->type == SOCKET) {
    pack->skipped++;
    return 0;
  }
  pack->entries++;
  bool several = pack->status.st_nlink > 1 && entry->type != '5';
  int result = several && !(pack->flags & COPY_NO_LINKS) ? copy_pack_known(pack, &known) : 0;
  if (result < 0) return result;
  if (known != NULL) {
    entry->type = '1';
    entry->link = known;
    entry->size = 0;
    return copy_pack_header(pack);
  }
  switch (entry->type) {
    case '0': return begin_file(pack);
    case '2': return put_link(pack);
    case '5':
      result = copy_pack_header(pack);
      return result < 0 ? result : enter(pack);
    default: return copy_pack_header(pack);
  }
}

static int take_entry(struct copy_pack *pack, bool top)
{
  int result = look(pack);
  if (result < 0) return pack->failure.code == 0 ? 0 : result; /* it went while the others were read */
  result = describe(pack);
  if (result < 0) return result;
  if (pack->flags & COPY_ASK && !top && pack->entry.type != SOCKET) {
    pack->asking = true;
    return 0;
  }
  return put_entry(pack);
}

static void leave(struct copy_pack *pack)
{
  closedir(pack->folders[--pack->depth].names);
}

static int next_entry(struct copy_pack *pack)
{
  if (!pack->begun) {
    pack->begun = true;
    pack->leaf = pack->source;
    if (*pack->source == '\0') return copy_pack_error(pack, ENOENT, "the source is empty");
    if (strlen(pack->name) >= COPY_MAX_PATH) return copy_pack_error(pack, ENAMETOOLONG, "name it");
    strcpy(pack->path, pack->name);
    return take_entry(pack, true);
  }
  while (pack->depth > 0) {
    struct copy_folder *folder = &pack->folders[pack->depth - 1];
    pack->path[folder->length] = '\0';
    errno = 0;
    struct dirent *next = readdir(folder->names);
    if (next == NULL && errno != 0) return copy_pack_error(pack, errno, "read the folder");
    if (next == NULL) {
      leave(pack);
      continue;
    }
    if (strcmp(next->d_name, ".") == 0 || strcmp(next->d_name, "..") == 0) continue;
    size_t length = strlen(next->d_name);
    if (folder->length + length + 2 > sizeof pack->path) return copy_pack_error(pack, ENAMETOOLONG, "a path below it is too long");
    pack->path[folder->length] = '/';
    memcpy(pack->path + folder->length + 1, next->d_name, length + 1);
    pack->parent = dirfd(folder->names);
    pack->leaf = pack->path + folder->length + 1;
    return take_entry(pack, false);
  }
  static const uint8_t zeros[2 * TAR_BLOCK];
  pack->ended = true;
  return copy_bytes_add(pack, &pack->head, zeros, sizeof zeros);
}

static int end_file(struct copy_pack *pack)
{
  static const uint8_t zeros[TAR_BLOCK];
  close(pack->file);
  pack->file = -1;
  return copy_bytes_add(pack, &pack->head, zeros, (size_t)pack->padding);
}

/* What it grew by meanwhile is left out. */
static int64_t read_file(struct copy_pack *pack, uint8_t *buffer, size_t size)
{
  if (pack->left == 0) return end_file(pack);
  size_t part = pack->left < size ? (size_t)pack->left : size;
  ssize_t got;
  do got = read(pack->file, buffer, part);
  while (got < 0 && errno == EINTR);
  if (got < 0) return copy_pack_error(pack, errno, "read it");
  if (got == 0) return copy_pack_error(pack, ESTALE, "it became shorter while it was read");
  copy_pack_sent(pack, (uint64_t)got);
  return got;
}

int64_t copy_pack_read(struct copy_pack *pack, uint8_t *buffer, size_t size)
{
  size_t done = 0;
  while (pack->failure.code == 0 && done < size && !pack->asking) {
    int64_t result = 0;
    size_t part = bytes_move(pack->head.bytes, &pack->head.length, &pack->head_at, buffer + done, size - done);
    done += part;
    if (part > 0) continue;
    uint64_t left;
    if (done > 0 && copy_pack_file(pack, &left) >= 0 && left >= size) break; /* it may be sent otherwise */
    if (pack->file >= 0) result = read_file(pack, buffer + done, size - done);
    else if (pack->ended) break;
    else result = next_entry(pack);
    if (result < 0) break;
    done += (size_t)result;
  }
  return pack->failure.code != 0 ? -pack->failure.code : (int64_t)done;
}

int copy_pack_file(const struct copy_pack *pack, uint64_t *left)
{
  *left = pack->head.length > pack->head_at ? 0 : pack->left;
  return *left > 0 ? pack->file : -1;
}

void copy_pack_sent(struct copy_pack *pack, uint64_t count)
{
  pack->left -= count;
  pack->bytes += count;
}

const struct copy_entry *copy_pack_asks(const struct copy_pack *pack)
{
  return pack->asking ? &pack->entry : NULL;
}

void copy_pack_answer(struct copy_pack *pack, bool take)
{
  if (!pack->asking) return;
  pack->asking = false;
  if (take) put_entry(pack); /* a failure shows with the next read */
}

void copy_pack_close(struct copy_pack *pack)
{
  if (pack == NULL) return;
  while (pack->depth > 0) leave(pack);
  if (pack->file >= 0) close(pack->file);
  copy_pack_forget(pack);
  free(pack->head.bytes);
  free(pack->source);
  free(pack->name);
  free(pack);
}

const struct copy_failure *copy_pack_failure(const struct copy_pack *pack)
{
  return &pack->failure;
}

uint64_t copy_pack_entries(const struct copy_pack *pack)
{
  return pack->entries;
}

uint64_t copy_pack_bytes(const struct copy_pack *pack)
{
  return pack->bytes;
}

uint64_t copy_pack_skipped(const struct copy_pack *pack)
{
  return pack->skipped;
}

const char *copy_pack_path(const struct copy_pack *pack)
{
  return pack->path;
}
