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

/* Makes `text` all that the file has. It is cut only where it was longer: that takes an emulated guest
 * half as long as a command. */
static bool write_whole(int fd, const char *text) {
  size_t length = strlen(text);
  struct stat status;
  return pwrite(fd, text, length, 0) == (ssize_t)length && fstat(fd, &status) == 0 &&
         (status.st_size == (off_t)length || ftruncate(fd, (off_t)length) == 0);
}

static void write_hostname(const char *hostname) {
  char wanted[REQUEST_MAX_HOSTNAME + 2], present[sizeof wanted + 1];
  int fd = open_regular("/etc/hostname");
  if (fd < 0) {
    log_line("write /etc/hostname in the box: %s", strerror(errno));
    return;
  }
  snprintf(wanted, sizeof wanted, "%s\n", hostname);
  if ((!contents(fd, present, sizeof present) || strcmp(present, wanted) != 0) && !write_whole(fd, wanted)) {
    log_line("write /etc/hostname in the box: %s", strerror(errno));
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

/* A file of /etc as it grows. */
struct hosts {
  int fd;
  size_t size;
  char present[HOSTS_MAX]; /* as it was */
};

static bool append(struct hosts *hosts, const char *text) {
  size_t length = strlen(text);
  if (pwrite(hosts->fd, text, length, (off_t)hosts->size) != (ssize_t)length) return false;
  hosts->size += length;
  return true;
}

/* Adds a line whose first name isn't there yet. */
static bool add_line(struct hosts *hosts, const char *line) {
  char text[REQUEST_MAX_LINE + 2], name[REQUEST_MAX_LINE + 1];
  const char *first = line + strcspn(line, " \t");
  first += strspn(first, " \t");
  size_t length = strcspn(first, " \t");
  memcpy(name, first, length);
  name[length] = '\0';
  if (length == 0 || names(hosts->present, name)) return true;
  snprintf(text, sizeof text, "%s\n", line);
  return append(hosts, text);
}

/* Adds only what is missing: the file is on the box's disk, and may have been edited. */
static void write_hosts(const struct request *request) {
  char own[REQUEST_MAX_HOSTNAME + 32];
  struct hosts *hosts = malloc(sizeof *hosts);
  if (hosts == NULL || (hosts->fd = open_regular("/etc/hosts")) < 0) {
    log_line("write /etc/hosts in the box: %s", strerror(errno));
    free(hosts);
    return;
  }
  if (contents(hosts->fd, hosts->present, HOSTS_MAX)) {
    hosts->size = strlen(hosts->present);
    snprintf(own, sizeof own, "127.0.1.1\t%s", request->hostname);
    bool done = true;
    if (hosts->size == 0) done = append(hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n");
    else if (hosts->present[hosts->size - 1] != '\n') done = append(hosts, "\n");
    done = done && add_line(hosts, own);
    for (char **line = request->hosts; done && line != NULL && *line != NULL; line++) done = add_line(hosts, *line);
    if (!done) log_line("write /etc/hosts in the box: %s", strerror(errno));
  }
  close(hosts->fd);
  free(hosts);
}

/* Whole, at each start: it says where the box's own name server is. What was there may be a link to
 * a file that nothing in the box makes. */
static void write_resolv(const char *text) {
  struct stat status;
  if (lstat("/etc/resolv.conf", &status) == 0 && S_ISLNK(status.st_mode)) unlink("/etc/resolv.conf");
  int fd = open_regular("/etc/resolv.conf");
  if (fd < 0 || !write_whole(fd, text)) {
    log_line("write /etc/resolv.conf in the box: %s", strerror(errno));
  }
  if (fd >= 0) close(fd);
}

void view_names(const struct request *request) {
  if (mkdir("/etc", 0755) < 0 && errno != EEXIST) {
    log_line("make /etc in the box: %s", strerror(errno));
    return;
  }
  umask(022);
  write_hostname(request->hostname);
  write_hosts(request);
  if (request->resolv != NULL) write_resolv(request->resolv);
  umask(0);
}
