#define _GNU_SOURCE 1
#include "life.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_at(int fd, const char *path) {
  struct stat opened, named;
  return fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

/* A descriptor, 0 where the file has become another one meanwhile, or a negative errno. */
static int try_lock(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), result;
  if (fd < 0) return -errno;
  do result = flock(fd, LOCK_EX | LOCK_NB);
  while (result < 0 && errno == EINTR);
  int error = result < 0 ? -errno : 0;
  if (error == 0 && is_at(fd, path)) return fd;
  close(fd);
  return error;
}

static int remove_file(const char *path) {
  return unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
}

int32_t hutch_life_begin(const char *lock, const char *stale) {
  int fd;
  do fd = try_lock(lock); while (fd == 0);
  if (fd < 0) return fd;
  int error = remove_file(stale);
  if (error == 0) return fd;
  hutch_life_end(fd, lock);
  return error;
}

int32_t hutch_life_remove(const char *paths) {
  int result = 0;
  for (const char *path = paths; *path != '\0'; path += strlen(path) + 1) {
    int error = remove_file(path);
    if (result == 0) result = error;
  }
  return result;
}

void hutch_life_end(int32_t fd, const char *lock) {
  if (is_at(fd, lock)) unlink(lock);
  close(fd);
}
