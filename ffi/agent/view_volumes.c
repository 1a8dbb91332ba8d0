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
#include <sys/sysmacros.h>
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

static unsigned attributes_of(const struct request_mount *mount) {
  return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (mount->read_only ? MOUNT_ATTR_RDONLY : 0) |
         (mount->noexec ? MOUNT_ATTR_NOEXEC : 0);
}

/* Keeps errno, which says why something failed. */
static int closed(int fd, int result) {
  int error = errno;
  if (fd >= 0) close(fd);
  errno = error;
  return result;
}

/* ---- what is mounted: each gives a mount that is nowhere yet, or -1 with errno set ----------------- */

static int open_share(int shares, const struct request_mount *mount) {
  struct mount_attr attributes = {.attr_set = attributes_of(mount)};
  int tree = open_tree(shares, mount->tag, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
  if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0) return tree;
  return closed(tree, -1);
}

static int made(int context, const struct request_mount *mount) {
  if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) return -1;
  return fsmount(context, FSMOUNT_CLOEXEC, attributes_of(mount));
}

static int open_tmpfs(const struct request_mount *mount) {
  char size[32] = "50%", mode[8];
  if (mount->size_mib > 0) snprintf(size, sizeof size, "%lum", (unsigned long)mount->size_mib);
  snprintf(mode, sizeof mode, "%o", (unsigned)mount->mode);
  int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
  if (context < 0) return -1;
  if (fsconfig(context, FSCONFIG_SET_STRING, "source", "tmpfs", 0) < 0 ||
      fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
      fsconfig(context, FSCONFIG_SET_STRING, "mode", mode, 0) < 0) {
    return closed(context, -1);
  }
  return closed(context, made(context, mount));
}

static int open_kind(const char *type, const char *device, const struct request_mount *mount) {
  int context = fsopen(type, FSOPEN_CLOEXEC);
  if (context < 0) return -1;
  if (fsconfig(context, FSCONFIG_SET_STRING, "source", device, 0) < 0 ||
      (mount->read_only && fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0) ||
      (strcmp(type, "ext4") == 0 && fsconfig(context, FSCONFIG_SET_STRING, "errors", "remount-ro", 0) < 0)) {
    return closed(context, -1);
  }
  return closed(context, made(context, mount));
}

/* The node of a disk, which the box needs no longer than its mount is being made. */
static int make_node(const char *name, const char *node) {
  char path[64];
  unsigned major, minor;
  snprintf(path, sizeof path, "/sys/class/block/%s/dev", name);
  FILE *file = fopen(path, "re");
  if (file == NULL) return -1;
  int found = fscanf(file, "%u:%u", &major, &minor);
  fclose(file);
  errno = ENODEV;
  return found == 2 ? mknod(node, S_IFBLK | 0600, makedev(major, minor)) : -1;
}

static int grown(int device, int tree) {
  struct failure failure;
  int root = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return -1;
  return closed(root, view_grow(device, root, UINT64_MAX, &failure));
}

static int open_disk(const struct request_mount *mount) {
  static const char *const KINDS[] = {"ext4", "xfs", "btrfs"};
  const char name[] = {'v', 'd', (char)('a' + mount->disk), '\0'};
  char node[16];
  snprintf(node, sizeof node, "/dev/%s", name);
  if (make_node(name, node) < 0) return -1;
  int tree = -1;
  errno = EINVAL; /* what each says of a disk that isn't its own */
  for (size_t i = 0; tree < 0 && errno == EINVAL && i < sizeof KINDS / sizeof *KINDS; i++) {
    tree = open_kind(KINDS[i], node, mount);
  }
  if (tree >= 0 && mount->grow && !mount->read_only) {
    int device = open(node, O_RDONLY | O_CLOEXEC);
    if (device < 0 || grown(device, tree) < 0) tree = closed(tree, -1);
    closed(device, 0);
  }
  int error = errno;
  unlink(node);
  errno = error;
  return tree;
}

static int open_volume(int shares, const struct request_mount *mount) {
  switch (mount->kind) {
    case MOUNT_SHARE: return open_share(shares, mount);
    case MOUNT_TMPFS: return open_tmpfs(mount);
    case MOUNT_DISK: return open_disk(mount);
  }
  errno = EINVAL;
  return -1;
}

static int mount_volume(int shares, int root, const struct request_mount *mount) {
  struct stat status;
  int place = -1, result = -1;
  int tree = open_volume(shares, mount);
  if (tree < 0) return -1;
  if (fstat(tree, &status) < 0) return closed(tree, -1);
  bool folder = S_ISDIR(status.st_mode);
  place = open_place(root, mount->path, folder);
  if (place >= 0 && fits(place, folder)) {
    result = move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
  }
  return closed(tree, closed(place, result));
}

static const char *reason(const struct request_mount *mount) {
  return mount->kind == MOUNT_DISK && errno == EINVAL ? "its disk has no ext4, XFS or btrfs file system that the kernel knows"
                                                      : strerror(errno);
}

static bool has_shares(const struct request_mount *mounts, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (mounts[i].kind == MOUNT_SHARE) return true;
  }
  return false;
}

int view_volumes(const struct request_mount *mounts, size_t count, struct failure *failure) {
  if (count == 0) return 0;
  int result = -1, shares = -1, root = -1;
  bool shared = has_shares(mounts, count);
  if ((shared && (mkdir(SHARES, 0700) < 0 || mount(HUTCH_SHARES_TAG, SHARES, "virtiofs", MS_NOSUID | MS_NODEV, NULL) < 0 ||
                  (shares = open(SHARES, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)) ||
      (root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0) {
    failure_set(failure, FAILURE_FAILED, errno, "mount the box's volumes: %s", strerror(errno));
    goto out;
  }
  result = 0;
  for (size_t i = 0; i < count && result == 0; i++) {
    result = mount_volume(shares, root, &mounts[i]);
    if (result < 0) failure_set(failure, FAILURE_FAILED, errno, "mount a volume at %s in the box: %s", mounts[i].path, reason(&mounts[i]));
  }
out:
  if (root >= 0) close(root);
  if (shares >= 0) close(shares);
  if (shared) {
    umount2(SHARES, MNT_DETACH);
    rmdir(SHARES);
  }
  return result;
}
