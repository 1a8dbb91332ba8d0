/* `hutch-share listen`: a program gets a socket that listens already. */
#define _GNU_SOURCE 1
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { SOCKET_FD = 3, FOLDER_FD, KEPT_END };

int listen_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) fail("Cannot listen at %s: the path is too long", path);
  strcpy(address.sun_path, path);
  if (unlink(path) < 0 && errno != ENOENT) fail("Cannot remove %s: %s", path, strerror(errno));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  mode_t mask = umask(0077);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) {
    fail("Cannot listen at %s: %s", path, strerror(errno));
  }
  umask(mask);
  return fd;
}

_Noreturn void listen_for(char **arguments) {
  const char *path = *arguments++;
  if (path == NULL || *arguments == NULL || strcmp(*arguments++, "--") != 0) fail("Cannot listen: an argument is missing");
  int folder = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) fail("Cannot open the working folder: %s", strerror(errno));
  int fd = listen_at(path);
  umask(0);
  /* Out of each other's way first. */
  fd = fcntl(fd, F_DUPFD_CLOEXEC, KEPT_END);
  folder = fcntl(folder, F_DUPFD_CLOEXEC, KEPT_END);
  if (dup2(fd, SOCKET_FD) < 0 || dup2(folder, FOLDER_FD) < 0) fail("Cannot listen: %s", strerror(errno));
  if (write(STDOUT_FILENO, "\n", 1) != 1) fail("Cannot say that %s is there: %s", path, strerror(errno));
  become(arguments);
}
