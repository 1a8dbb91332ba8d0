/* The folders on the way to an entry. Each is opened by its name in the one before, and never through
 * a link. */
#define _GNU_SOURCE 1
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

const char *copy_shown(const struct copy_unpack *unpack, const char *path)
{
  size_t length = strlen(path);
  return path + (length < unpack->hidden ? length : unpack->hidden);
}

int copy_unpack_error(struct copy_unpack *unpack, int code, const char *doing)
{
  return copy_fail(&unpack->failure, code, copy_shown(unpack, unpack->path), "%s", doing);
}

int copy_path_clean(struct copy_unpack *unpack, const char *from, char *path)
{
  size_t at = strlen(unpack->prefix);
  memcpy(path, unpack->prefix, at + 1);
  if (*from == '/') return copy_fail(&unpack->failure, EPERM, from, "the archive has an absolute name");
  while (*(from += strspn(from, "/")) != '\0') {
    size_t length = strcspn(from, "/");
    if (length == 2 && memcmp(from, "..", 2) == 0)
      return copy_fail(&unpack->failure, EPERM, from, "the archive has a name that leads out of it");
    if (length > 1 || *from != '.') {
      if (length > 255 || at + length + 2 > COPY_MAX_PATH)
        return copy_fail(&unpack->failure, ENAMETOOLONG, from, "a name is too long");
      if (at > 0) path[at++] = '/';
      memcpy(path + at, from, length);
      path[at += length] = '\0';
    }
    from += length;
  }
  return 0;
}

/* Whether the open folder is on the way to the path. */
static bool leads_to(const struct copy_unpack *unpack, size_t length, const char *path)
{
  return length == 0 || (strncmp(unpack->at, path, length) == 0 && path[length] == '/');
}

int copy_folders_leave(struct copy_unpack *unpack, const char *path)
{
  int result = 0;
  while (unpack->depth > 1) {
    struct copy_level *level = &unpack->levels[unpack->depth - 1];
    if (path != NULL && leads_to(unpack, level->length, path)) break;
    unpack->at[level->length] = '\0';
    if (result == 0 && level->traits.set && copy_traits_apply(unpack, level->fd, &level->traits) < 0)
      result = copy_fail(&unpack->failure, errno, copy_shown(unpack, unpack->at), "set the folder's owner, mode and times");
    close(level->fd);
    unpack->depth--;
    unpack->at[unpack->levels[unpack->depth - 1].length] = '\0';
  }
  return result;
}

static int push(struct copy_unpack *unpack, int fd, const char *name, size_t length)
{
  size_t at = unpack->levels[unpack->depth - 1].length;
  if (unpack->depth == COPY_MAX_DEPTH) {
    close(fd);
    return copy_unpack_error(unpack, ELOOP, "the folders are more than 255 within one another");
  }
  if (at > 0) unpack->at[at++] = '/';
  memcpy(unpack->at + at, name, length);
  unpack->at[at += length] = '\0';
  unpack->levels[unpack->depth++] = (struct copy_level){.fd = fd, .length = at};
  return 0;
}

static int refuse(struct copy_unpack *unpack, int code)
{
  /* Linux says ENOTDIR of a link here, others ELOOP. */
  bool other = code == ENOTDIR || code == ELOOP;
  return copy_unpack_error(unpack, other ? ENOTDIR : code, other ? "something else is where a folder has to be" : "open the folder");
}

int copy_folders_enter(struct copy_unpack *unpack, const char *path, const char **name)
{
  int result = copy_folders_leave(unpack, path);
  if (result < 0) return result;
  size_t at = unpack->levels[unpack->depth - 1].length;
  const char *rest = path + at + (at > 0);
  for (const char *slash; (slash = strchr(rest, '/')) != NULL; rest = slash + 1) {
    char part[256];
    size_t length = (size_t)(slash - rest);
    memcpy(part, rest, length); /* copy_path_clean has seen to its length */
    part[length] = '\0';
    int parent = unpack->levels[unpack->depth - 1].fd;
    int fd = openat(parent, part, FOLDER);
    if (fd < 0 && errno == ENOENT && mkdirat(parent, part, 0777) == 0) fd = openat(parent, part, FOLDER);
    if (fd < 0) return refuse(unpack, errno);
    result = push(unpack, fd, part, length);
    if (result < 0) return result;
  }
  *name = rest;
  return 0;
}

int copy_folder_make(struct copy_unpack *unpack, const char *name, const struct copy_traits *traits)
{
  int parent = unpack->levels[unpack->depth - 1].fd;
  bool made = mkdirat(parent, name, unpack->flags & COPY_MODES ? 0700 : 0777) == 0;
  if (!made && errno != EEXIST) return copy_unpack_error(unpack, errno, "make the folder");
  int fd = openat(parent, name, FOLDER);
  if (fd < 0) return refuse(unpack, errno);
  int result = push(unpack, fd, name, strlen(name));
  if (result == 0 && made) unpack->levels[unpack->depth - 1].traits = *traits;
  return result;
}

int copy_folder_find(struct copy_unpack *unpack, const char *path, const char **name)
{
  int fd = dup(unpack->levels[0].fd);
  for (const char *slash; fd >= 0 && (slash = strchr(path, '/')) != NULL; path = slash + 1) {
    char part[256];
    size_t length = (size_t)(slash - path);
    memcpy(part, path, length);
    part[length] = '\0';
    int next = openat(fd, part, FOLDER);
    int code = errno;
    close(fd);
    fd = next;
    errno = code;
  }
  *name = path;
  return fd < 0 ? copy_unpack_error(unpack, errno, "find what the hard link is to") : fd;
}
