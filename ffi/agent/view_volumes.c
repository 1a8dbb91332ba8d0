#define _GNU_SOURCE 1
#include "view.h"

#include "../protocol.h"
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where the shares are while their mounts are made: on the box's fresh /dev, where no link of its
 * image can be in the way. */
#define SHARES "/dev/.shares"

/* Opens a path of the box, with the links of its image, none of which leads out of `root`. */
static int open_inside(int root, const char *path) {
  struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
  return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

/* Makes one missing part of a path. */
static int make_part(int parent, const char *name, bool folder) {
  int fd = -1;
  int result = folder ? mkdirat(parent, name, 0755)
                      : (fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (result < 0 && errno == EEXIST) errno = ENOENT; /* what is there is a link that leads nowhere */
  if (fd >= 0) close(fd);
  return result < 0 ? -1 : 0;
}

/* Opens the place to mount on, with what is missing of its path made: folders, and a file at its end
 * unless `folder`. A descriptor, or -1 with errno set. */
static int open_place(int root, const char *path, bool folder) {
  char part[REQUEST_MAX_PATH + 1];
  int place = open_inside(root, "/");
  size_t length = strlen(path), end = 0;
  while (place >= 0 && end < length) {
    size_t start = end + strspn(path + end, "/");
    end = start + strcspn(path + start, "/");
    if (start == end) break;
    memcpy(part, path, end);
    part[end] = '\0';
    int next = open_inside(root, part);
    if (next < 0 && errno == ENOENT && make_part(place, part + start, folder || end < length) == 0) {
      next = open_inside(root, part);
    }
    int error = errno;
    close(place);
    errno = error;
    place = next;
  }
  return place;
}

/* Whether what is there can be covered by a folder or a file; errno says why not. */
static bool fits(int place, bool folder) {
  struct stat status;
  if (fstat(place, &status) < 0) return false;
  errno = folder ? ENOTDIR : EISDIR;
  return S_ISDIR(status.st_mode) == folder;
}

static int mount_volume(int shares, int root, const struct request_mount *mount) {
  struct mount_attr attributes = {
    .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (mount->read_only ? MOUNT_ATTR_RDONLY : 0),
  };
  struct stat status;
  int place = -1, result = -1;
  int tree = open_tree(shares, mount->tag, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
  if (tree < 0 || fstat(tree, &status) < 0) goto out;
  if (mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0) goto out;
  bool folder = S_ISDIR(status.st_mode);
  place = open_place(root, mount->path, folder);
  if (place < 0 || !fits(place, folder)) goto out;
  result = move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
out:;
  int error = errno;
  if (place >= 0) close(place);
  if (tree >= 0) close(tree);
  errno = error;
  return result;
}

int view_volumes(const struct request_mount *mounts, size_t count, struct failure *failure) {
  if (count == 0) return 0;
  int result = -1, shares = -1, root = -1;
  if (mkdir(SHARES, 0700) < 0 || mount(HUTCH_SHARES_TAG, SHARES, "virtiofs", MS_NOSUID | MS_NODEV, NULL) < 0 ||
      (shares = open(SHARES, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0 ||
      (root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0) {
    failure_set(failure, FAILURE_FAILED, errno, "mount the box's volumes: %s", strerror(errno));
    goto out;
  }
  result = 0;
  for (size_t i = 0; i < count && result == 0; i++) {
    result = mount_volume(shares, root, &mounts[i]);
    if (result < 0) failure_set(failure, FAILURE_FAILED, errno, "mount a volume at %s in the box: %s", mounts[i].path, strerror(errno));
  }
out:
  if (root >= 0) close(root);
  if (shares >= 0) close(shares);
  umount2(SHARES, MNT_DETACH);
  rmdir(SHARES);
  return result;
}
