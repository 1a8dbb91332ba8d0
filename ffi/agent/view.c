#define _GNU_SOURCE 1
#include "view.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FAIL(failure, ...) (failure_set((failure), FAILURE_FAILED, errno, __VA_ARGS__), -1)

static int folder(const char *path, mode_t mode, struct failure *failure) {
  if (mkdir(path, mode) == 0 || errno == EEXIST) return 0;
  return FAIL(failure, "make folder %s in the box: %s", path, strerror(errno));
}

static int place(const char *type, const char *path, unsigned long flags, const char *options,
                 struct failure *failure) {
  if (folder(path, 0755, failure) < 0) return -1;
  if (mount(type, path, type, flags, options) == 0) return 0;
  return FAIL(failure, "mount %s on %s in the box: %s", type, path, strerror(errno));
}

/* Like place, for what a kernel may lack. */
static void place_if_known(const char *type, const char *path, unsigned long flags, const char *options) {
  struct failure failure;
  if (place(type, path, flags, options, &failure) < 0) log_line("%s", failure.text);
}

int view_enter(struct failure *failure) {
  if (unshare(CLONE_NEWNS | CLONE_NEWIPC) < 0) return FAIL(failure, "unshare: %s", strerror(errno));
  /* What the box mounts stays in the box. */
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return FAIL(failure, "make / private: %s", strerror(errno));
  if (chdir(BOX_MOUNT) < 0) return FAIL(failure, "enter %s: %s", BOX_MOUNT, strerror(errno));
  /* The old root ends up on top of the new one, and is taken away from there. */
  if (syscall(SYS_pivot_root, ".", ".") < 0) return FAIL(failure, "pivot_root: %s", strerror(errno));
  if (umount2(".", MNT_DETACH) < 0) return FAIL(failure, "leave the system disk: %s", strerror(errno));
  if (chdir("/") < 0) return FAIL(failure, "enter the box's root: %s", strerror(errno));
  return 0;
}

int view_make(const struct request *request, struct failure *failure) {
  const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  umask(0);
  /* Before anything else is mounted: a link in /etc could lead to a file of /proc or /dev. */
  view_names(request);
  if (place("proc", "/proc", plain, NULL, failure) < 0) return -1;
  if (place("sysfs", "/sys", plain, NULL, failure) < 0) return -1;
  if (place("tmpfs", "/dev", MS_NOSUID, "mode=755,size=1m", failure) < 0) return -1;
  if (view_devices(failure) < 0) return -1;
  if (place("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "ptmxmode=0666,mode=0620,gid=5", failure) < 0) return -1;
  if (place("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777", failure) < 0) return -1;
  place_if_known("mqueue", "/dev/mqueue", plain, NULL);
  if (place("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755", failure) < 0) return -1;
  if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", plain, NULL) < 0) log_line("mount cgroup2: %s", strerror(errno));
  umask(022);
  return 0;
}
