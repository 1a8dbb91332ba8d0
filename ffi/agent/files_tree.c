#define _GNU_SOURCE 1
/* What takes more than one call: removing trees, making folders, copying. */
#include "files_do.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH 8192 /* deeper trees than any path can name are removed, too */
#define ENTRY_BUFFER 8192
#define COPY_PIECE (128 * 1024)

/* ---- removing ----------------------------------------------------------------------------------- */

/* A folder on the way down; each is opened below the one before, so that a link put in a folder's
 * place meanwhile leads nowhere. */
struct level {
  int fd;
  char name[NAME_MAX + 1];
};

struct descent {
  struct level *levels;
  size_t count, room;
};

static int enter(struct descent *descent, int parent, const char *name) {
  if (descent->count == MAX_DEPTH) return -ELOOP;
  if (strlen(name) > NAME_MAX) return -ENAMETOOLONG;
  if (descent->count == descent->room) {
    size_t room = descent->room == 0 ? 16 : descent->room * 2;
    struct level *levels = realloc(descent->levels, room * sizeof *levels);
    if (levels == NULL) return -ENOMEM;
    descent->levels = levels;
    descent->room = room;
  }
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct level *level = &descent->levels[descent->count++];
  level->fd = fd;
  strcpy(level->name, name);
  return 0;
}

static bool is_dots(const char *name) {
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Removes entries of the innermost folder until one is a folder, which is entered (1), or none is left
 * (0). What is removed doesn't come again, so each call starts from the front. */
static int clear(struct descent *descent) {
  _Alignas(struct dirent64) char buffer[ENTRY_BUFFER];
  const int fd = descent->levels[descent->count - 1].fd;
  if (lseek(fd, 0, SEEK_SET) < 0) return -errno;
  for (;;) {
    ssize_t got = getdents64(fd, buffer, sizeof buffer);
    if (got <= 0) return got < 0 ? -errno : 0;
    for (ssize_t at = 0; at < got;) {
      const struct dirent64 *entry = (const struct dirent64 *)(buffer + at);
      at += entry->d_reclen;
      if (is_dots(entry->d_name)) continue;
      if (entry->d_type != DT_DIR) {
        if (unlinkat(fd, entry->d_name, 0) == 0 || errno == ENOENT) continue;
        if (errno != EISDIR && errno != EPERM) return -errno;
      }
      int why = errno;
      int error = enter(descent, fd, entry->d_name);
      if (error == -ENOTDIR || error == -ELOOP) return entry->d_type == DT_DIR ? error : -why;
      if (error == -ENOENT) continue;
      return error < 0 ? error : 1;
    }
  }
}

static int remove_tree(const char *path) {
  struct descent descent = {0};
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -errno;
  int error = enter(&descent, fd, ".");
  close(fd);
  while (error >= 0 && descent.count > 0) {
    error = clear(&descent);
    if (error != 0) continue;
    struct level *done = &descent.levels[--descent.count];
    close(done->fd);
    if (descent.count == 0) break;
    if (unlinkat(descent.levels[descent.count - 1].fd, done->name, AT_REMOVEDIR) < 0 && errno != ENOENT) error = -errno;
  }
  while (descent.count > 0) close(descent.levels[--descent.count].fd);
  free(descent.levels);
  if (error < 0) return error;
  return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}

int files_remove(const char *path, bool recursive) {
  struct stat status;
  if (lstat(path, &status) < 0) return -errno;
  if (!S_ISDIR(status.st_mode)) return unlink(path) < 0 ? -errno : 0;
  if (recursive) return remove_tree(path);
  return rmdir(path) < 0 ? -errno : 0;
}

/* ---- making folders -------------------------------------------------------------------------------- */

static int make_one(const char *path, unsigned mode) {
  struct stat status;
  if (mkdir(path, (mode_t)mode) == 0) return 0;
  int error = errno;
  /* Some file systems say another reason for what is there. */
  if (error != ENOENT && stat(path, &status) == 0) return S_ISDIR(status.st_mode) ? 0 : -EEXIST;
  return -error;
}

int files_make_folders(const char *path, unsigned mode) {
  int error = make_one(path, mode);
  if (error != -ENOENT) return error;
  char *part = strdup(path);
  if (part == NULL) return -ENOMEM;
  error = 0;
  for (char *at = part + strspn(part, "/"); error == 0 && *at != '\0';) {
    at += strcspn(at, "/");
    char *rest = at + strspn(at, "/");
    if (*rest == '\0') break; /* the last one has its turn below */
    *at = '\0';
    error = make_one(part, mode);
    *at = '/';
    at = rest;
  }
  free(part);
  return error < 0 ? error : make_one(path, mode);
}

/* ---- copying ------------------------------------------------------------------------------------------ */

static int copy_by_hand(int from, int to) {
  char *piece = malloc(COPY_PIECE);
  if (piece == NULL) return -ENOMEM;
  int error = 0;
  for (ssize_t got; error == 0 && (got = read(from, piece, COPY_PIECE)) != 0;) {
    if (got < 0) {
      if (errno != EINTR) error = -errno;
      continue;
    }
    for (ssize_t done = 0; error == 0 && done < got;) {
      ssize_t put = write(to, piece + done, (size_t)(got - done));
      if (put > 0) done += put;
      else if (put == 0 || errno != EINTR) error = put == 0 ? -EIO : -errno;
    }
  }
  free(piece);
  return error;
}

static int copy_bytes(int from, int to) {
  bool any = false;
  for (;;) {
    ssize_t done = copy_file_range(from, NULL, to, NULL, 1 << 30, 0);
    if (done > 0) {
      any = true;
    } else if (done == 0) {
      return any ? 0 : copy_by_hand(from, to); /* files that the kernel makes up claim to be empty */
    } else if (errno == EXDEV || errno == ENOSYS || errno == EINVAL || errno == EOPNOTSUPP || errno == EPERM) {
      return copy_by_hand(from, to);
    } else if (errno != EINTR) {
      return -errno;
    }
  }
}

int files_copy(const char *from_path, const char *to_path) {
  struct stat from_status, to_status;
  int from = open(from_path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (from < 0) return -errno;
  int to = -1, error = fstat(from, &from_status) < 0 ? -errno : 0;
  if (error == 0 && S_ISDIR(from_status.st_mode)) error = -EISDIR;
  if (error == 0) {
    to = open(to_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, from_status.st_mode & 0777);
    if (to < 0) error = -errno;
  }
  if (error == 0 && fstat(to, &to_status) < 0) error = -errno;
  if (error == 0 && (from_status.st_dev != to_status.st_dev || from_status.st_ino != to_status.st_ino)) {
    if (S_ISREG(to_status.st_mode) && ftruncate(to, 0) < 0) error = -errno;
    if (error == 0) error = copy_bytes(from, to);
    if (error == 0 && S_ISREG(to_status.st_mode) && fchmod(to, from_status.st_mode & 07777) < 0) error = -errno;
  }
  close(from);
  if (to >= 0 && close(to) < 0 && error == 0) error = -errno;
  return error;
}
