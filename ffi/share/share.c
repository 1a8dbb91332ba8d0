/* Puts folders and files of the host where an engine's file server finds them, and nothing else.
 *
 *   hutch-share enter FOLDER [ro|rw TAG PATH]... -- PROGRAM [ARG...]
 *     Becomes PROGRAM in a mount namespace in which FOLDER holds PATH under the name TAG. What is "ro"
 *     can't be written there by anybody, which no file server has to be trusted with.
 *
 *   hutch-share listen SOCKET -- PROGRAM [ARG...]
 *     Becomes PROGRAM with a socket that listens at the path SOCKET as descriptor 3 and the working
 *     folder as descriptor 4, and says so by an empty line on standard output. (virtiofsd's own socket
 *     leaves a file behind, and its options take no path with a comma.)
 *
 * Without the right to mount it takes a user namespace of its own, in which the caller is root and
 * nobody else is there. Ends with code 125 and a line on standard error when something fails. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { SOCKET_FD = 3, FOLDER_FD, KEPT_END };

static _Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static _Noreturn void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(125);
}

static _Noreturn void become(char **program) {
  if (*program == NULL) fail("Cannot go on: no program is named");
  execv(program[0], program);
  fail("Cannot run %s: %s", program[0], strerror(errno));
}

/* ---- enter ---------------------------------------------------------------------------------- */

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

/* The place to mount on, of the same kind as what comes there. */
static void place(int folder, const char *tag, bool is_folder) {
  int fd = -1;
  if (is_folder ? mkdirat(folder, tag, 0700) : (fd = openat(folder, tag, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600))) {
    if (is_folder || fd < 0) fail("Cannot mount volume %s: %s", tag, strerror(errno));
  }
  if (fd >= 0) close(fd);
}

static void share(int folder, bool read_only, const char *tag, const char *path) {
  if (*tag == '\0' || *tag == '.' || strchr(tag, '/') != NULL) fail("Cannot mount volumes: \"%s\" is no tag", tag);
  /* With all that is mounted below, as it is now. Not through links: the path was resolved before. */
  int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW);
  struct stat status;
  if (tree < 0 || fstat(tree, &status) < 0) fail("Cannot share %s: %s", path, strerror(errno));
  if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)) fail("Cannot share %s: it is neither a folder nor a file", path);
  attributes(tree, "", AT_EMPTY_PATH | AT_RECURSIVE,
             (struct mount_attr){.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0),
                                 .propagation = MS_PRIVATE});
  place(folder, tag, S_ISDIR(status.st_mode));
  if (move_mount(tree, "", folder, tag, MOVE_MOUNT_F_EMPTY_PATH) < 0) fail("Cannot share %s: %s", path, strerror(errno));
  close(tree);
}

static _Noreturn void enter(char **arguments) {
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
    bool read_only = strcmp(arguments[0], "ro") == 0;
    if (!read_only && strcmp(arguments[0], "rw") != 0) fail("Cannot mount volumes: \"%s\" is neither ro nor rw", arguments[0]);
    share(folder, read_only, arguments[1], arguments[2]);
  }
  /* Nothing can be put beside the shares. */
  attributes(folder, "", AT_EMPTY_PATH, (struct mount_attr){.attr_set = MOUNT_ATTR_RDONLY});
  close(folder);
  become(*arguments == NULL ? arguments : arguments + 1);
}

/* ---- listen --------------------------------------------------------------------------------- */

static _Noreturn void listen_for(char **arguments) {
  const char *path = *arguments++;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (path == NULL || *arguments == NULL || strcmp(*arguments++, "--") != 0) fail("Cannot listen: an argument is missing");
  if (strlen(path) >= sizeof address.sun_path) fail("Cannot listen at %s: the path is too long", path);
  strcpy(address.sun_path, path);
  if (unlink(path) < 0 && errno != ENOENT) fail("Cannot remove %s: %s", path, strerror(errno));
  int folder = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) fail("Cannot open the working folder: %s", strerror(errno));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  umask(0077);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) {
    fail("Cannot listen at %s: %s", path, strerror(errno));
  }
  umask(0);
  /* Out of each other's way first. */
  fd = fcntl(fd, F_DUPFD_CLOEXEC, KEPT_END);
  folder = fcntl(folder, F_DUPFD_CLOEXEC, KEPT_END);
  if (dup2(fd, SOCKET_FD) < 0 || dup2(folder, FOLDER_FD) < 0) fail("Cannot listen: %s", strerror(errno));
  if (write(STDOUT_FILENO, "\n", 1) != 1) fail("Cannot say that %s is there: %s", path, strerror(errno));
  become(arguments);
}

int main(int count, char **arguments) {
  (void)count;
  if (arguments[1] != NULL && strcmp(arguments[1], "enter") == 0) enter(arguments + 2);
  if (arguments[1] != NULL && strcmp(arguments[1], "listen") == 0) listen_for(arguments + 2);
  fail("usage: hutch-share enter|listen ...");
}
