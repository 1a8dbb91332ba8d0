#define _GNU_SOURCE 1
#include "view.h"

#include "log.h"
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOSTS_MAX (64 * 1024) /* a longer one is somebody's own, and left alone */

/* Opens a file of /etc for reading and writing if it is, or becomes, a regular file. */
static int open_regular(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
  struct stat status;
  if (fd < 0) return -1;
  if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
    close(fd);
    errno = EINVAL;
    return -1;
  }
  return fd;
}

/* What the file has now, ended by NUL; false if it's too long or can't be read. */
static bool contents(int fd, char *text, size_t size) {
  ssize_t got = pread(fd, text, size, 0);
  if (got < 0 || (size_t)got >= size) return false;
  text[got] = '\0';
  return true;
}

static void write_hostname(const char *hostname) {
  char wanted[REQUEST_MAX_HOSTNAME + 2], present[sizeof wanted + 1];
  int fd = open_regular("/etc/hostname");
  if (fd < 0) {
    log_line("write /etc/hostname in the box: %s", strerror(errno));
    return;
  }
  size_t length = (size_t)snprintf(wanted, sizeof wanted, "%s\n", hostname);
  if (!contents(fd, present, sizeof present) || strcmp(present, wanted) != 0) {
    if (ftruncate(fd, 0) < 0 || pwrite(fd, wanted, length, 0) != (ssize_t)length) {
      log_line("write /etc/hostname in the box: %s", strerror(errno));
    }
  }
  close(fd);
}

/* Whether a line of a hosts file names `hostname`. */
static bool names(const char *hosts, const char *hostname) {
  size_t length = strlen(hostname);
  const char *at = hosts;
  while (*at != '\0') {
    size_t word = strcspn(at, " \t\r\n#");
    if (word == length && strncasecmp(at, hostname, length) == 0) return true;
    at += word;
    if (*at == '#') at += strcspn(at, "\n");
    if (*at != '\0') at++;
  }
  return false;
}

/* Adds only what is missing: the file is on the box's disk, and may have been edited. */
static void write_hosts(const char *hostname) {
  char added[2 * REQUEST_MAX_HOSTNAME + 128];
  char *present = malloc(HOSTS_MAX);
  int fd = present == NULL ? -1 : open_regular("/etc/hosts");
  if (fd < 0) {
    log_line("write /etc/hosts in the box: %s", strerror(errno));
    goto out;
  }
  if (!contents(fd, present, HOSTS_MAX) || names(present, hostname)) goto out;
  size_t size = strlen(present);
  const char *start = size == 0 ? "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n"
                      : present[size - 1] != '\n' ? "\n" : "";
  size_t length = (size_t)snprintf(added, sizeof added, "%s127.0.1.1\t%s\n", start, hostname);
  if (pwrite(fd, added, length, (off_t)size) != (ssize_t)length) {
    log_line("write /etc/hosts in the box: %s", strerror(errno));
  }
out:
  if (fd >= 0) close(fd);
  free(present);
}

void view_names(const char *hostname) {
  if (mkdir("/etc", 0755) < 0 && errno != EEXIST) {
    log_line("make /etc in the box: %s", strerror(errno));
    return;
  }
  umask(022);
  write_hostname(hostname);
  write_hosts(hostname);
  umask(0);
}
