/* Puts entries in their places. */
#define _GNU_SOURCE 1
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Of an entry: what it is to have in the end. */
static int traits_of(struct copy_unpack *unpack, const struct copy_entry *entry, struct copy_traits *traits)
{
  *traits = (struct copy_traits){
    .set = unpack->owner.kind != COPY_OWNERS_NONE || unpack->flags & (COPY_MODES | COPY_TIMES),
    .mode = entry->mode & (unpack->flags & COPY_GUARDED ? 0777 : 07777),
    .nanos = entry->nanos, .seconds = entry->seconds,
  };
  if (!copy_owner_map(&unpack->owner, entry->uid, false, &traits->uid) ||
      !copy_owner_map(&unpack->owner, entry->gid, true, &traits->gid))
    return copy_unpack_error(unpack, EINVAL, "its owner isn't in the map of owners");
  return 0;
}

static void times_of(const struct copy_traits *traits, struct timespec times[2])
{
  times[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
  times[1] = (struct timespec){.tv_sec = (time_t)traits->seconds, .tv_nsec = (long)traits->nanos};
}

/* The owner first: a change of it takes the set-id bits away. 0, or -1 with errno. */
int copy_traits_apply(struct copy_unpack *unpack, int fd, const struct copy_traits *traits)
{
  struct timespec times[2];
  times_of(traits, times);
  if (unpack->owner.kind != COPY_OWNERS_NONE && fchown(fd, traits->uid, traits->gid) < 0) return -1;
  if (unpack->flags & COPY_MODES && fchmod(fd, traits->mode) < 0) return -1;
  return unpack->flags & COPY_TIMES ? futimens(fd, times) : 0;
}

/* The same for what can't be opened: links, fifos, devices. */
static int apply_by_name(struct copy_unpack *unpack, int folder, const char *name, const struct copy_traits *traits)
{
  struct timespec times[2];
  times_of(traits, times);
  if (unpack->owner.kind != COPY_OWNERS_NONE && fchownat(folder, name, traits->uid, traits->gid, AT_SYMLINK_NOFOLLOW) < 0)
    return copy_unpack_error(unpack, errno, "set its owner");
  if (unpack->flags & COPY_TIMES && utimensat(folder, name, times, AT_SYMLINK_NOFOLLOW) < 0)
    return copy_unpack_error(unpack, errno, "set its time");
  return 0;
}

/* Takes away what is in an entry's place. 0: try again. */
static int make_way(struct copy_unpack *unpack, int folder, const char *name)
{
  struct stat status;
  if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode))
    return copy_unpack_error(unpack, EISDIR, "a folder is in its place");
  if (!(unpack->flags & COPY_OVERWRITE)) return copy_unpack_error(unpack, EEXIST, "it is there already");
  if (unlinkat(folder, name, 0) == 0 || errno == ENOENT) return 0;
  return copy_unpack_error(unpack, errno, "replace what is in its place");
}

/* A file that something is mounted on (a volume of one file, /etc/hosts) can be written, not replaced. */
static int open_in_place(int folder, const char *name)
{
  int fd = openat(folder, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  struct stat status;
  if (fd < 0) return -1;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && ftruncate(fd, 0) == 0) return fd;
  close(fd);
  return -1;
}

static int begin_file(struct copy_unpack *unpack, const char *name, const struct copy_entry *entry,
                      const struct copy_traits *traits)
{
  int folder = unpack->levels[unpack->depth - 1].fd;
  mode_t mode = unpack->flags & COPY_MODES ? 0600 : entry->mode & 0100 ? 0777 : 0666;
  const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  int fd = openat(folder, name, flags, mode);
  if (fd < 0 && errno == EEXIST) {
    int result = make_way(unpack, folder, name);
    if (result == -EBUSY && !(unpack->flags & COPY_GUARDED) && (fd = open_in_place(folder, name)) >= 0)
      unpack->failure = (struct copy_failure){0};
    else if (result < 0) return result;
    else fd = openat(folder, name, flags, mode);
  }
  if (fd < 0) return copy_unpack_error(unpack, errno, "make the file");
  unpack->file = fd;
  unpack->file_traits = *traits;
  snprintf(unpack->file_name, sizeof unpack->file_name, "%s", name);
  return copy_made_add(unpack, folder, name);
}

void copy_file_drop(struct copy_unpack *unpack)
{
  if (unpack->file < 0) return;
  close(unpack->file);
  unpack->file = -1;
  unlinkat(unpack->levels[unpack->depth - 1].fd, unpack->file_name, 0);
}

int copy_file_end(struct copy_unpack *unpack)
{
  if (unpack->file < 0) return 0;
  int fd = unpack->file;
  if (unpack->file_traits.set && copy_traits_apply(unpack, fd, &unpack->file_traits) < 0) {
    int result = copy_unpack_error(unpack, errno, "set its owner, mode and time");
    copy_file_drop(unpack);
    return result;
  }
  unpack->file = -1;
  /* Some file systems tell of a full disk only now. */
  if (close(fd) == 0 || errno == EINTR) return 0;
  return copy_unpack_error(unpack, errno, "write the file");
}

static int same_file(int folder, const char *name, int other_folder, const char *other)
{
  struct stat one, two;
  return fstatat(folder, name, &one, AT_SYMLINK_NOFOLLOW) == 0 &&
         fstatat(other_folder, other, &two, AT_SYMLINK_NOFOLLOW) == 0 && one.st_dev == two.st_dev &&
         one.st_ino == two.st_ino;
}

static int hard_link(struct copy_unpack *unpack, const char *name, const char *link)
{
  char path[COPY_MAX_PATH];
  const char *target;
  int here = unpack->levels[unpack->depth - 1].fd;
  int result = copy_path_clean(unpack, link, path);
  if (result < 0) return result;
  int there = copy_folder_find(unpack, path, &target);
  if (there < 0) return there;
  if (!copy_made_has(unpack, there, target)) {
    result = copy_unpack_error(unpack, EPERM, "it is a hard link to something that isn't part of the copy");
  } else if (linkat(there, target, here, name, 0) < 0) {
    int code = errno;
    if (code == EEXIST && same_file(there, target, here, name)) result = 0;
    else if (code == EEXIST && (result = make_way(unpack, here, name)) == 0)
      result = linkat(there, target, here, name, 0) < 0 ? copy_unpack_error(unpack, errno, "make the hard link") : 0;
    else if (code != EEXIST) result = copy_unpack_error(unpack, code, "make the hard link");
  }
  close(there);
  return result;
}

static int make_other(int folder, const char *name, const struct copy_entry *entry, mode_t mode)
{
  switch (entry->type) {
    case '2': return symlinkat(entry->link, folder, name);
    case '3': return mknodat(folder, name, S_IFCHR | mode, makedev(entry->major, entry->minor));
    case '4': return mknodat(folder, name, S_IFBLK | mode, makedev(entry->major, entry->minor));
    default: return mkfifoat(folder, name, mode);
  }
}

static int other(struct copy_unpack *unpack, const char *name, const struct copy_entry *entry,
                 const struct copy_traits *traits)
{
  int folder = unpack->levels[unpack->depth - 1].fd;
  if (entry->type != '2' && unpack->flags & COPY_GUARDED)
    return copy_unpack_error(unpack, EPERM, entry->type == '6' ? "it is a fifo" : "it is a device");
  if (entry->type == '2' && *entry->link == '\0')
    return copy_unpack_error(unpack, EBADMSG, "it is a link to nothing");
  mode_t mode = unpack->flags & COPY_MODES ? 0600 : 0666;
  if (make_other(folder, name, entry, mode) < 0) {
    int code = errno;
    int result = code == EEXIST ? make_way(unpack, folder, name) : copy_unpack_error(unpack, code, "make it");
    if (result < 0) return result;
    if (make_other(folder, name, entry, mode) < 0) return copy_unpack_error(unpack, errno, "make it");
  }
  /* Nothing could have taken the place of what isn't a link but this user's own programs. */
  if (entry->type != '2' && unpack->flags & COPY_MODES && fchmodat(folder, name, traits->mode, 0) < 0)
    return copy_unpack_error(unpack, errno, "set its mode");
  int result = apply_by_name(unpack, folder, name, traits);
  return result < 0 ? result : copy_made_add(unpack, folder, name);
}

int copy_place(struct copy_unpack *unpack, const struct copy_entry *entry)
{
  const char *name;
  struct copy_traits traits;
  if (*unpack->path == '\0') {
    if (entry->type == '5') return copy_folders_leave(unpack, NULL); /* the destination itself stays as it is */
    return copy_unpack_error(unpack, EBADMSG, "the archive has a file without a name");
  }
  int result = copy_folders_enter(unpack, unpack->path, &name);
  if (result == 0) result = traits_of(unpack, entry, &traits);
  if (result < 0) return result;
  switch (entry->type) {
    case '0': return begin_file(unpack, name, entry, &traits);
    case '1': return hard_link(unpack, name, entry->link);
    case '5': return copy_folder_make(unpack, name, &traits);
    default: return other(unpack, name, entry, &traits);
  }
}
