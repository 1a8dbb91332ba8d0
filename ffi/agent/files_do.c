#define _GNU_SOURCE 1
#include "files_do.h"

#include "files_handles.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define LIST_BUFFER (32 * 1024)
#define LIST_DATA (128 * 1024)

/* ---- replies --------------------------------------------------------------------------------- */

static void add_name(struct files_reply *reply, const char *name) {
  reply->pairs++;
  cbor_out_text(&reply->head, name);
}

static void add_number(struct files_reply *reply, const char *name, uint64_t value) {
  add_name(reply, name);
  cbor_out_uint(&reply->head, value);
}

/* In ms, which is what the other side's clock has. */
static void add_time(struct files_reply *reply, const char *name, const struct statx_timestamp *time) {
  add_name(reply, name);
  cbor_out_int(&reply->head, time->tv_sec * 1000 + time->tv_nsec / 1000000);
}

static int add_bytes(struct files_reply *reply, const char *bytes, size_t length) {
  if (length > FILES_MAX_DATA) return -ENAMETOOLONG;
  reply->data = malloc(length);
  if (reply->data == NULL) return -ENOMEM;
  memcpy(reply->data, bytes, length);
  reply->data_length = length;
  return 0;
}

/* ---- open files -------------------------------------------------------------------------------- */

static int open_flags(uint32_t flags) {
  int result = O_CLOEXEC | O_NOCTTY;
  const bool writes = flags & (FILES_FOR_WRITING | FILES_APPENDING);
  result |= !writes ? O_RDONLY : flags & FILES_FOR_READING ? O_RDWR : O_WRONLY;
  if (flags & FILES_APPENDING) result |= O_APPEND;
  if (flags & FILES_EMPTIED) result |= O_TRUNC;
  if (flags & FILES_MADE) result |= O_CREAT;
  if (flags & FILES_NEW) result |= O_CREAT | O_EXCL;
  return result;
}

/* {handle, size, seekable}: whether offsets mean anything. On failure `fd` is the caller's still. */
static int add_handle(int fd, struct files_reply *reply) {
  struct stat status;
  uint32_t handle = 0;
  int error = fstat(fd, &status) < 0 ? -errno : files_handle_add(fd, &handle);
  if (error < 0) return error;
  const bool seekable = (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode)) && lseek(fd, 0, SEEK_CUR) >= 0;
  add_number(reply, "handle", handle);
  add_number(reply, "size", (uint64_t)status.st_size);
  add_name(reply, "seekable");
  cbor_out_bool(&reply->head, seekable);
  return 0;
}

static int do_open(const struct files_request *request, struct files_reply *reply) {
  int fd = open(request->path, open_flags(request->flags), (mode_t)request->mode);
  if (fd < 0) return -errno;
  int error = add_handle(fd, reply);
  if (error < 0) close(fd);
  return error;
}

/* A file's bytes, if they fit: {}. Else the first of them, and what open says. */
static int do_load(const struct files_request *request, struct files_reply *reply) {
  int fd = open(request->path, open_flags(FILES_FOR_READING));
  if (fd < 0) return -errno;
  int error = 0;
  ssize_t got = 1;
  reply->data = malloc(FILES_MAX_DATA);
  if (reply->data == NULL) error = -ENOMEM;
  while (error == 0 && got != 0 && reply->data_length < FILES_MAX_DATA) {
    got = read(fd, reply->data + reply->data_length, FILES_MAX_DATA - reply->data_length);
    if (got > 0) reply->data_length += (size_t)got;
    else if (got < 0 && errno != EINTR) error = -errno;
  }
  if (error == 0 && got != 0) {
    error = add_handle(fd, reply);
    if (error == 0) return 0;
  }
  close(fd);
  return error;
}

static int do_read(int fd, const struct files_request *request, struct files_reply *reply) {
  size_t length = (size_t)request->length;
  reply->data = malloc(length + 1);
  if (reply->data == NULL) return -ENOMEM;
  ssize_t got;
  do {
    got = request->has_offset ? pread(fd, reply->data, length, request->offset) : read(fd, reply->data, length);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return -errno;
  reply->data_length = (size_t)got;
  return 0;
}

/* Writes all of the data, or says how much it was before it failed. */
static int write_all(int fd, const struct files_request *request, size_t *done) {
  *done = 0;
  while (*done < request->data_length) {
    const uint8_t *from = request->data + *done;
    size_t left = request->data_length - *done;
    ssize_t put = request->has_offset ? pwrite(fd, from, left, request->offset + (int64_t)*done) : write(fd, from, left);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return put < 0 ? -errno : -EIO;
    *done += (size_t)put;
  }
  return 0;
}

/* {written} */
static int do_write(int fd, const struct files_request *request, struct files_reply *reply) {
  size_t done;
  int error = write_all(fd, request, &done);
  if (error < 0 && done == 0) return error; /* else what follows says why */
  add_number(reply, "written", done);
  return 0;
}

/* A whole file at once. */
static int do_store(const struct files_request *request) {
  size_t done;
  int fd = open(request->path, open_flags(request->flags), (mode_t)request->mode);
  if (fd < 0) return -errno;
  int error = request->flags & FILES_SET_MODE && fchmod(fd, (mode_t)request->mode) < 0 ? -errno : 0;
  if (error == 0) error = write_all(fd, request, &done);
  int closed = close(fd) < 0 ? -errno : 0;
  return error < 0 ? error : closed;
}

static uint8_t kind_of(int folder, const struct dirent64 *entry) {
  struct stat status;
  unsigned char type = entry->d_type;
  if (type == DT_UNKNOWN && fstatat(folder, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
    type = (unsigned char)IFTODT(status.st_mode);
  }
  return type == DT_DIR ? 'd' : type == DT_LNK ? 'l' : type == DT_REG ? 'f' : 'o';
}

/* Data: for each of the next entries u8 kind, u16 length (BE), name. What an entry takes there is less
 * than what the kernel says of it. `more`: whether there may be others. */
static int do_list(int fd, struct files_reply *reply, bool *more) {
  _Alignas(struct dirent64) char buffer[LIST_BUFFER];
  reply->data = malloc(LIST_DATA);
  if (reply->data == NULL) return -ENOMEM;
  size_t used = 0;
  ssize_t got = 1;
  while (used <= LIST_DATA - sizeof buffer && (got = getdents64(fd, buffer, sizeof buffer)) > 0) {
    for (ssize_t at = 0; at < got;) {
      const struct dirent64 *entry = (const struct dirent64 *)(buffer + at);
      at += entry->d_reclen;
      if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
      size_t length = strlen(entry->d_name);
      reply->data[used] = kind_of(fd, entry);
      reply->data[used + 1] = (uint8_t)(length >> 8);
      reply->data[used + 2] = (uint8_t)length;
      memcpy(reply->data + used + 3, entry->d_name, length);
      used += 3 + length;
    }
  }
  *more = got != 0;
  reply->data_length = used;
  return got < 0 ? -errno : 0;
}

/* {more} */
static int do_list_on(int fd, struct files_reply *reply) {
  bool more;
  int error = do_list(fd, reply, &more);
  add_name(reply, "more");
  cbor_out_bool(&reply->head, more);
  return error;
}

/* A folder's entries, if they fit: {}. Else the first of them, and what open says. */
static int do_list_folder(const struct files_request *request, struct files_reply *reply) {
  bool more;
  int fd = open(request->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int error = do_list(fd, reply, &more);
  if (error == 0 && more) {
    error = add_handle(fd, reply);
    if (error == 0) return 0;
  }
  close(fd);
  return error;
}

/* ---- names ------------------------------------------------------------------------------------- */

/* {mode, size, ...}: numbers as stat(2) has them, times in ms. */
static int do_stat(int fd, const struct files_request *request, struct files_reply *reply) {
  struct statx status;
  int flags = request->flags & FILES_NOT_FOLLOWED ? AT_SYMLINK_NOFOLLOW : 0;
  const char *path = request->has_handle ? "" : request->path;
  if (request->has_handle) flags |= AT_EMPTY_PATH;
  if (statx(fd, path, flags, STATX_BASIC_STATS | STATX_BTIME, &status) < 0) return -errno;
  add_number(reply, "mode", status.stx_mode);
  add_number(reply, "size", status.stx_size);
  add_number(reply, "dev", makedev(status.stx_dev_major, status.stx_dev_minor));
  add_number(reply, "rdev", makedev(status.stx_rdev_major, status.stx_rdev_minor));
  add_number(reply, "ino", status.stx_ino);
  add_number(reply, "nlink", status.stx_nlink);
  add_number(reply, "uid", status.stx_uid);
  add_number(reply, "gid", status.stx_gid);
  add_number(reply, "blksize", status.stx_blksize);
  add_number(reply, "blocks", status.stx_blocks);
  add_time(reply, "atime", &status.stx_atime);
  add_time(reply, "mtime", &status.stx_mtime);
  add_time(reply, "ctime", &status.stx_ctime);
  if (status.stx_mask & STATX_BTIME) add_time(reply, "birthtime", &status.stx_btime);
  return 0;
}

static int do_read_link(const char *path, struct files_reply *reply) {
  char target[PATH_MAX];
  ssize_t length = readlink(path, target, sizeof target);
  return length < 0 ? -errno : add_bytes(reply, target, (size_t)length);
}

static int do_real_path(const char *path, struct files_reply *reply) {
  char real[PATH_MAX];
  if (realpath(path, real) == NULL) return -errno;
  return add_bytes(reply, real, strlen(real));
}

static int do_utime(int fd, const struct files_request *request) {
  const struct timespec times[2] = {
    {.tv_sec = (time_t)request->atime, .tv_nsec = request->atime_ns},
    {.tv_sec = (time_t)request->mtime, .tv_nsec = request->mtime_ns},
  };
  int flags = request->flags & FILES_NOT_FOLLOWED ? AT_SYMLINK_NOFOLLOW : 0;
  int result = request->has_handle ? futimens(fd, times) : utimensat(AT_FDCWD, request->path, times, flags);
  return result < 0 ? -errno : 0;
}

static int do_chown(const struct files_request *request) {
  int flags = request->flags & FILES_NOT_FOLLOWED ? AT_SYMLINK_NOFOLLOW : 0;
  return fchownat(AT_FDCWD, request->path, (uid_t)request->uid, (gid_t)request->gid, flags) < 0 ? -errno : 0;
}

static int on_handle(int fd, const struct files_request *request, struct files_reply *reply) {
  switch (request->op) {
    case FILES_READ: return do_read(fd, request, reply);
    case FILES_WRITE: return do_write(fd, request, reply);
    case FILES_TRUNCATE: return ftruncate(fd, request->length) < 0 ? -errno : 0;
    case FILES_SYNC: return (request->flags & FILES_DATA_ONLY ? fdatasync(fd) : fsync(fd)) < 0 ? -errno : 0;
    case FILES_STAT: return do_stat(fd, request, reply);
    case FILES_LIST: return do_list_on(fd, reply);
    case FILES_CHMOD: return fchmod(fd, (mode_t)request->mode) < 0 ? -errno : 0;
    case FILES_UTIME: return do_utime(fd, request);
    default: return 0; /* close */
  }
}

static int on_path(const char *path, const struct files_request *request, struct files_reply *reply) {
  switch (request->op) {
    case FILES_OPEN: return do_open(request, reply);
    case FILES_LOAD: return do_load(request, reply);
    case FILES_STORE: return do_store(request);
    case FILES_LIST: return do_list_folder(request, reply);
    case FILES_TRUNCATE: return truncate(path, request->length) < 0 ? -errno : 0;
    case FILES_STAT: return do_stat(AT_FDCWD, request, reply);
    case FILES_MKDIR:
      if (request->flags & FILES_RECURSIVE) return files_make_folders(path, request->mode);
      return mkdir(path, (mode_t)request->mode) < 0 ? -errno : 0;
    case FILES_REMOVE: return files_remove(path, request->flags & FILES_RECURSIVE);
    case FILES_RENAME: return rename(path, request->to) < 0 ? -errno : 0;
    case FILES_COPY: return files_copy(path, request->to);
    case FILES_LINK: return link(path, request->to) < 0 ? -errno : 0;
    case FILES_SYMLINK: return symlink(path, request->to) < 0 ? -errno : 0;
    case FILES_READ_LINK: return do_read_link(path, reply);
    case FILES_REAL_PATH: return do_real_path(path, reply);
    case FILES_CHMOD: return chmod(path, (mode_t)request->mode) < 0 ? -errno : 0;
    case FILES_CHOWN: return do_chown(request);
    default: return do_utime(AT_FDCWD, request);
  }
}

int files_do(const struct files_request *request, struct files_reply *reply) {
  if (!request->has_handle) return on_path(request->path, request, reply);
  int fd = files_handle_use(request->handle);
  if (fd < 0) return fd;
  int error = on_handle(fd, request, reply);
  int closed = files_handle_release(request->handle, request->op == FILES_CLOSE);
  return error < 0 ? error : closed;
}
