#include "view.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const struct {
  const char *path;
  mode_t mode;
  unsigned major, minor;
  const char *known; /* made only if the kernel shows this; NULL: always */
} NODES[] = {
  {"/dev/null", 0666, 1, 3, NULL},
  {"/dev/zero", 0666, 1, 5, NULL},
  {"/dev/full", 0666, 1, 7, NULL},
  {"/dev/random", 0666, 1, 8, NULL},
  {"/dev/urandom", 0666, 1, 9, NULL},
  {"/dev/tty", 0666, 5, 0, NULL},
  {"/dev/fuse", 0666, 10, 229, "/sys/dev/char/10:229"},
  {"/dev/net/tun", 0666, 10, 200, "/sys/dev/char/10:200"},
  {"/dev/kvm", 0660, 10, 232, "/sys/dev/char/10:232"},
};

static const struct {
  const char *path;
  const char *target;
} LINKS[] = {
  {"/dev/ptmx", "pts/ptmx"},
  {"/dev/fd", "/proc/self/fd"},
  {"/dev/stdin", "/proc/self/fd/0"},
  {"/dev/stdout", "/proc/self/fd/1"},
  {"/dev/stderr", "/proc/self/fd/2"},
};

static int failed(struct failure *failure, const char *path) {
  failure_set(failure, FAILURE_FAILED, errno, "make %s in the box: %s", path, strerror(errno));
  return -1;
}

int view_devices(struct failure *failure) {
  if (mkdir("/dev/net", 0755) < 0) return failed(failure, "/dev/net");
  for (size_t i = 0; i < sizeof NODES / sizeof NODES[0]; i++) {
    if (NODES[i].known != NULL && access(NODES[i].known, F_OK) < 0) continue;
    dev_t device = makedev(NODES[i].major, NODES[i].minor);
    if (mknod(NODES[i].path, S_IFCHR | NODES[i].mode, device) < 0) return failed(failure, NODES[i].path);
  }
  for (size_t i = 0; i < sizeof LINKS / sizeof LINKS[0]; i++) {
    if (symlink(LINKS[i].target, LINKS[i].path) < 0) return failed(failure, LINKS[i].path);
  }
  return 0;
}
