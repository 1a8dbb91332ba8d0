/* The destination of a copy: what is there decides what the tree is called. Links on the way to it
 * are followed, since its path is the user's own. */
#define _GNU_SOURCE 1
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int failed(struct copy_unpack *unpack, int code, const char *path, const char *doing)
{
  return copy_fail(&unpack->failure, code, path, "%s", doing);
}

/* Makes a folder and those that it is in. */
static int make_folders(struct copy_unpack *unpack, char *path)
{
  for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
    if (slash != NULL) *slash = '\0';
    int code = mkdir(path, 0777) < 0 ? errno : 0;
    struct stat status;
    /* A file system may refuse to make what is there for another reason. */
    if (code != 0 && stat(path, &status) == 0) code = S_ISDIR(status.st_mode) ? 0 : ENOTDIR;
    if (code != 0) return failed(unpack, code, path, "make the folder");
    if (slash == NULL) return 0;
    *slash = '/';
  }
}

static int open_base(struct copy_unpack *unpack, char *path)
{
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT && (unpack->flags & COPY_PARENTS)) {
    int result = make_folders(unpack, path);
    if (result < 0) return result;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  }
  if (fd < 0) return failed(unpack, errno, path, "open the folder");
  unpack->levels[0] = (struct copy_level){.fd = fd};
  unpack->depth = 1;
  return 0;
}

static bool is_plain(const char *name)
{
  size_t length = strlen(name);
  return length > 0 && length < sizeof ((struct copy_unpack *)0)->file_name && strchr(name, '/') == NULL &&
         strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int within(struct copy_unpack *unpack, char *path, const char *name)
{
  if (strcmp(name, ".") == 0) return open_base(unpack, path); /* the root folder has no name to go by */
  if (!is_plain(name)) return failed(unpack, EINVAL, name, "use the name within a folder");
  snprintf(unpack->prefix, sizeof unpack->prefix, "%s", name);
  return open_base(unpack, path);
}

/* The destination itself becomes the tree. */
static int beside(struct copy_unpack *unpack, char *path)
{
  char *slash = strrchr(path, '/');
  char here[] = ".", root[] = "/";
  char *folder = slash == NULL ? here : slash == path ? root : path;
  const char *name = slash == NULL ? path : slash + 1;
  if (!is_plain(name)) return failed(unpack, ENOENT, path, "find the destination");
  snprintf(unpack->prefix, sizeof unpack->prefix, "%s", name);
  unpack->hidden = strlen(name) + 1;
  if (slash != NULL && slash != path) *slash = '\0';
  return open_base(unpack, folder);
}

/* What a link leads to is what counts, as for cp. */
static char *resolved(const char *path)
{
  struct stat status;
  if (lstat(path, &status) == 0 && S_ISLNK(status.st_mode)) return realpath(path, NULL);
  return strdup(path);
}

static int choose(struct copy_unpack *unpack, char *path, bool folder, bool must_be_folder)
{
  struct stat status;
  int there = stat(path, &status) == 0 ? 1 : errno == ENOENT ? 0 : -errno;
  uint32_t flags = unpack->flags;
  if (there < 0) return failed(unpack, -there, path, "look at the destination");
  if (there > 0 && S_ISDIR(status.st_mode)) {
    bool into = !folder || (flags & (COPY_INTO | COPY_INTO_OLD));
    return into ? within(unpack, path, unpack->name) : open_base(unpack, path);
  }
  if (there > 0 && (folder || must_be_folder || (flags & COPY_INTO)))
    return failed(unpack, ENOTDIR, path, "the destination is no folder");
  if (there > 0) return beside(unpack, path);
  if (folder ? flags & COPY_INTO : must_be_folder) return within(unpack, path, unpack->name);
  return beside(unpack, path);
}

int copy_base_open(struct copy_unpack *unpack, bool folder)
{
  size_t length = strlen(unpack->destination);
  if (length == 0) return failed(unpack, ENOENT, "", "the destination is empty");
  if (length >= COPY_MAX_PATH) return failed(unpack, ENAMETOOLONG, "", "the destination is too long");
  char *spelled = strdup(unpack->destination);
  if (spelled == NULL) return failed(unpack, ENOMEM, "", "no memory");
  bool must_be_folder = false;
  for (bool more = true; more;) {
    more = false;
    if (length > 1 && spelled[length - 1] == '/') more = true, spelled[--length] = '\0';
    else if (length > 2 && strcmp(spelled + length - 2, "/.") == 0) more = true, spelled[length -= 1] = '\0';
    if (more || strcmp(spelled, ".") == 0) must_be_folder = true;
  }
  char *path = resolved(spelled);
  free(spelled);
  if (path == NULL) return failed(unpack, errno, unpack->destination, "follow the destination's link");
  int result = unpack->flags & COPY_ARCHIVE ? open_base(unpack, path) : choose(unpack, path, folder, must_be_folder);
  free(path);
  return result;
}
