/* Makes a box that has another one's disk somebody else: `renew [HOSTNAME]`. A new machine id, new SSH host keys
 * and a new random seed, each where there is one. Its exit code is 0 when nothing is left of the other
 * one's; what it says on its standard error tells what is. The host name is for a box that went on from
 * another one's memory: whoever boots has written it already. That box waits for nothing but a byte on the
 * standard output, which says that all is changed; bringing it to the disk follows. */
#define _GNU_SOURCE 1
#include "builtin.h"
#include "network.h"
#include "request.h"
#include "view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SSH "/etc/ssh"
#define SEED_BYTES 512
#define WAIT_SECONDS 3 /* whoever goes on has something to do first, and so have others that go on with it */

static int complain(const char *what, const char *path) {
  fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
  return 1;
}

/* What a file is to have from now on; made where there is such a file: a guest that goes on has to draw its first
 * random numbers for it, which takes an emulated one as long as a command. */
typedef bool contents(char *bytes, size_t *length);

/* Writes a file anew if it is there, regular and at least so long; nothing is followed. Whole before the old one
 * goes. */
static int replace(const char *path, off_t least, contents *make) {
  char fresh[128], bytes[SEED_BYTES];
  size_t length;
  struct stat status;
  if (lstat(path, &status) < 0) return errno == ENOENT || errno == ENOTDIR ? 0 : complain("look at", path);
  if (!S_ISREG(status.st_mode) || status.st_size < least) return 0;
  if (!make(bytes, &length)) return complain("draw random numbers for", path);
  snprintf(fresh, sizeof fresh, "%s.hutch", path);
  unlink(fresh);
  int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return complain("write", path);
  bool good = write(fd, bytes, length) == (ssize_t)length && fchown(fd, status.st_uid, status.st_gid) == 0 &&
              fchmod(fd, status.st_mode & 07777) == 0;
  if (close(fd) < 0 || !good || rename(fresh, path) < 0) {
    int result = complain("write", path);
    unlink(fresh);
    return result;
  }
  return 0;
}

/* One for both files. */
static bool machine_id(char *bytes, size_t *length) {
  static uint8_t id[16];
  static bool drawn;
  if (!drawn && getrandom(id, sizeof id, 0) != sizeof id) return false;
  drawn = true;
  id[6] = (uint8_t)((id[6] & 0x0f) | 0x40); /* a UUID of version 4, as systemd's are */
  id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
  for (size_t i = 0; i < sizeof id; i++) snprintf(bytes + i * 2, 3, "%02x", id[i]);
  bytes[sizeof id * 2] = '\n';
  *length = sizeof id * 2 + 1;
  return true;
}

static bool seed(char *bytes, size_t *length) {
  *length = SEED_BYTES;
  return getrandom(bytes, SEED_BYTES, 0) == SEED_BYTES;
}

static int renew_machine_id(void) {
  /* An empty one means that it is yet to be made. */
  return replace("/etc/machine-id", 32, machine_id) | replace("/var/lib/dbus/machine-id", 0, machine_id);
}

static int renew_seeds(void) {
  static const char *const PATHS[] = {"/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed",
                                      "/var/lib/random-seed", "/var/lib/misc/random-seed",
                                      "/var/lib/seedrng/seed.credit", "/var/lib/seedrng/seed.no-credit"};
  int bad = 0;
  for (size_t i = 0; i < sizeof PATHS / sizeof *PATHS; i++) bad |= replace(PATHS[i], 0, seed);
  return bad;
}

static bool is_host_key(const char *name) {
  size_t length = strlen(name);
  const char *end = strstr(name, "_key");
  return strncmp(name, "ssh_host_", 9) == 0 && end != NULL && (length < 5 || strcmp(end, "_key") == 0 || strcmp(end, "_key.pub") == 0);
}

/* Removes the host keys; how many private ones there were, or -1. */
static int drop_host_keys(void) {
  DIR *folder = opendir(SSH);
  if (folder == NULL) return 0;
  int count = 0;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (!is_host_key(entry->d_name)) continue;
    if (unlinkat(dirfd(folder), entry->d_name, 0) < 0) count = -1;
    else if (count >= 0) count++;
  }
  closedir(folder);
  if (count < 0) complain("remove keys in", SSH);
  return count;
}

static int make_host_keys(void) {
  static const char *const PROGRAMS[] = {"/usr/bin/ssh-keygen", "/usr/local/bin/ssh-keygen", "/bin/ssh-keygen"};
  pid_t pid = fork();
  if (pid == 0) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) dup2(null, STDOUT_FILENO);
    char *const arguments[] = {(char[]){"ssh-keygen"}, (char[]){"-A"}, NULL};
    char *const environment[] = {(char[]){"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, NULL};
    for (size_t i = 0; i < sizeof PROGRAMS / sizeof *PROGRAMS; i++) execve(PROGRAMS[i], arguments, environment);
    _exit(127);
  }
  int status = 0;
  while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (pid > 0 && WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 127)) return 0;
  fprintf(stderr, "make SSH host keys: ssh-keygen failed\n");
  return 1;
}

int renew_main(int argc, char **argv) {
#ifdef HUTCH_NATIVE
  (void)argc;
  (void)argv;
  return 1; /* this would be the machine that the tests run on */
#endif
  if (argc > 1 && strlen(argv[1]) <= REQUEST_MAX_HOSTNAME) {
    const struct request names = {.hostname = argv[1]};
    view_names(&names);
    umask(022);
  }
  int bad = renew_machine_id() | renew_seeds();
  int keys = drop_host_keys();
  if (keys < 0) bad = 1;
  /* Where no program makes them, whoever needs some finds none, and never the other one's. */
  if (keys > 0) bad |= make_host_keys();
  if (bad == 0 && argc > 1) {
    if (write(STDOUT_FILENO, "", 1) != 1) bad = 1;
    sleep(WAIT_SECONDS);
    int error = network_settle();
    if (error < 0) {
      errno = -error;
      bad |= complain("exchange", "the link-local address");
    }
  }
  sync();
  return bad;
}
