/* `hutch-share enter`: folders under names of their own in a mount namespace of their own. */
#define _GNU_SOURCE 1
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Debian and Ubuntu have switches of their own for it. */
static _Noreturn void refused(const char *what) {
  fail("Cannot mount volumes: %s: %s (run as root, or allow user namespaces: sysctl user.max_user_namespaces, "
       "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)", what, strerror(errno));
}

static void put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) refused(path);
  close(fd);
}

static void map(const char *path, unsigned id) {
  char text[32];
  snprintf(text, sizeof text, "0 %u 1\n", id);
  put(path, text);
}

static void own_namespace(void) {
  if (unshare(CLONE_NEWNS) == 0) return;
  uid_t user = geteuid();
  gid_t group = getegid();
  if (errno != EPERM || unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) refused("a namespace is refused");
  put("/proc/self/setgroups", "deny");
  map("/proc/self/uid_map", user);
  map("/proc/self/gid_map", group);
}

static void attributes(int folder, const char *path, unsigned flags, struct mount_attr wanted) {
  if (mount_setattr(folder, path, flags, &wanted, sizeof wanted) < 0) fail("Cannot mount volumes: mount_setattr: %s", strerror(errno));
}

/* ---- owners --------------------------------------------------------------------------------- */

#define MOST_ID 4294967294u /* the one above it means "none" */

struct change {
  unsigned from, to;
};

struct mode {
  bool read_only;
  bool required; /* whether the change of owners is */
  bool changes;
  struct change user, group;
};

/* All digits up to `end`, which is passed over. */
static const char *read_id(const char *text, char end, unsigned *id) {
  char *after = NULL;
  if (*text < '0' || *text > '9') return NULL;
  errno = 0;
  unsigned long value = strtoul(text, &after, 10);
  if (errno != 0 || value > MOST_ID || *after != end) return NULL;
  *id = (unsigned)value;
  return after + 1;
}

static struct mode read_mode(const char *text) {
  struct mode mode = {.read_only = strncmp(text, "ro", 2) == 0};
  const char *at = text + 2;
  if (!mode.read_only && strncmp(text, "rw", 2) != 0) goto wrong;
  if (*at == '\0') return mode;
  mode.changes = true;
  mode.required = strncmp(at, ",map=", 5) == 0;
  if (!mode.required && strncmp(at, ",try=", 5) != 0) goto wrong;
  if ((at = read_id(at + 5, ':', &mode.user.from)) && (at = read_id(at, ':', &mode.user.to)) &&
      (at = read_id(at, ':', &mode.group.from)) && read_id(at, '\0', &mode.group.to)) {
    return mode;
  }
wrong:
  fail("Cannot mount volumes: \"%s\" is neither ro nor rw, with or without owners", text);
}

/* Adds the range from `first` to before `end` that stays as it is. */
static size_t keep(char *map, size_t length, size_t size, unsigned first, unsigned end) {
  if (first >= end) return length;
  return length + (size_t)snprintf(map + length, size - length, "%u %u %u\n", first, first, end - first);
}

/* All ids stay what they are but these two: `from` becomes `to`, and `to` becomes `from`, unless it is
 * root. Nothing becomes root's on the host that its owner hasn't made. */
static void write_map(pid_t child, const char *name, struct change change) {
  char path[64], text[256];
  unsigned low = change.from < change.to ? change.from : change.to, high = change.from < change.to ? change.to : change.from;
  size_t length = keep(text, 0, sizeof text, 0, low);
  length = keep(text, length, sizeof text, low + 1, high);
  length = keep(text, length, sizeof text, high + 1, MOST_ID + 1);
  length += (size_t)snprintf(text + length, sizeof text - length, "%u %u 1\n", change.from, change.to);
  if (change.to != 0 && change.from != change.to) snprintf(text + length, sizeof text - length, "%u %u 1\n", change.to, change.from);
  snprintf(path, sizeof path, "/proc/%d/%s", (int)child, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
    if (fd >= 0) close(fd);
    errno = EPERM;
    return;
  }
  close(fd);
  errno = 0;
}

/* A user namespace with the maps, which a child that waits for its end holds for a moment. A descriptor,
 * or -1 with errno set. */
static int user_namespace(const struct mode *mode) {
  int word[2], end[2], fd = -1;
  if (pipe2(word, O_CLOEXEC) < 0 || pipe2(end, O_CLOEXEC) < 0) return -1;
  pid_t child = fork();
  if (child < 0) return -1;
  if (child == 0) {
    char byte = 0;
    close(end[1]);
    if (unshare(CLONE_NEWUSER) < 0 || write(word[1], &byte, 1) != 1) _exit(1);
    _exit(read(end[0], &byte, 1) < 0);
  }
  close(word[1]);
  close(end[0]);
  char byte;
  errno = EPERM;
  if (read(word[0], &byte, 1) == 1) {
    write_map(child, "uid_map", mode->user);
    if (errno == 0) write_map(child, "gid_map", mode->group);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)child);
    if (errno == 0) fd = open(path, O_RDONLY | O_CLOEXEC);
  }
  int error = errno;
  close(word[0]);
  close(end[1]);
  while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
  errno = error;
  return fd;
}

static void change_owners(int tree, const char *path, const struct mode *mode) {
  if (!mode->changes) return;
  int fd = user_namespace(mode);
  struct mount_attr wanted = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)fd};
  if (fd >= 0 && mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &wanted, sizeof wanted) == 0) {
    close(fd);
    return;
  }
  if (mode->required) {
    fail("Cannot give %s another owner: %s (that takes root, and a file system with idmapped mounts such as ext4, XFS, "
         "btrfs or tmpfs; owner=keep leaves owners as they are)", path, strerror(errno));
  }
  if (fd >= 0) close(fd);
}

/* ---- shares --------------------------------------------------------------------------------- */

/* The place to mount on, of the same kind as what comes there. */
static void place(int folder, const char *tag, bool is_folder) {
  int fd = -1;
  if (is_folder ? mkdirat(folder, tag, 0700) : (fd = openat(folder, tag, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600))) {
    if (is_folder || fd < 0) fail("Cannot mount volume %s: %s", tag, strerror(errno));
  }
  if (fd >= 0) close(fd);
}

static void share(int folder, const struct mode *mode, const char *tag, const char *path) {
  if (*tag == '\0' || *tag == '.' || strchr(tag, '/') != NULL) fail("Cannot mount volumes: \"%s\" is no tag", tag);
  /* With all that is mounted below, as it is now. Not through links: the path was resolved before. */
  int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW);
  struct stat status;
  if (tree < 0 || fstat(tree, &status) < 0) fail("Cannot share %s: %s", path, strerror(errno));
  if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)) fail("Cannot share %s: it is neither a folder nor a file", path);
  attributes(tree, "", AT_EMPTY_PATH | AT_RECURSIVE,
             (struct mount_attr){.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (mode->read_only ? MOUNT_ATTR_RDONLY : 0),
                                 .propagation = MS_PRIVATE});
  change_owners(tree, path, mode);
  place(folder, tag, S_ISDIR(status.st_mode));
  if (move_mount(tree, "", folder, tag, MOVE_MOUNT_F_EMPTY_PATH) < 0) fail("Cannot share %s: %s", path, strerror(errno));
  close(tree);
}

_Noreturn void enter_folder(char **arguments) {
  const char *path = *arguments++;
  if (path == NULL) fail("Cannot mount volumes: no folder is named");
  own_namespace();
  /* What is mounted here stays here; what the host takes away goes here as well. */
  if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) refused("mounting is refused");
  if (mkdir(path, 0700) < 0 && errno != EEXIST) fail("Cannot make %s: %s", path, strerror(errno));
  if (mount("hutch", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k") < 0) fail("Cannot mount %s: %s", path, strerror(errno));
  int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) fail("Cannot open %s: %s", path, strerror(errno));
  for (; *arguments != NULL && strcmp(*arguments, "--") != 0; arguments += 3) {
    if (arguments[1] == NULL || arguments[2] == NULL) fail("Cannot mount volumes: an argument is missing");
    struct mode mode = read_mode(arguments[0]);
    share(folder, &mode, arguments[1], arguments[2]);
  }
  /* Nothing can be put beside the shares. */
  attributes(folder, "", AT_EMPTY_PATH, (struct mount_attr){.attr_set = MOUNT_ATTR_RDONLY});
  close(folder);
  become(*arguments == NULL ? arguments : arguments + 1);
}
