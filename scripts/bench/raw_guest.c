/* PID 1 of the benchmark's floor: the channel with nothing on it. Speaks six commands of eight
 * bytes, a letter and a count (BE): 'e' echo count bytes, 's' swallow count bytes then answer one,
 * 'g' give count bytes, 'x' fork, exec and wait for /bin/true count times, then answer by eight bytes how many
 * ns that took (BE); 'S' and 'G' are 's' and 'g' by a child at the other end of a pipe, which is the least that a
 * command's input and output can cost. */
#define _GNU_SOURCE
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (256 * 1024)
#define WIDE_PIPE (1024 * 1024)

static int open_port(void) {
  DIR *folder = opendir("/sys/class/virtio-ports");
  if (!folder) return -1;
  int file = -1;
  for (struct dirent *entry; file < 0 && (entry = readdir(folder));) {
    char path[300], name[64] = "";
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
    int named = open(path, O_RDONLY);
    if (named < 0) continue;
    ssize_t length = read(named, name, sizeof name - 1);
    close(named);
    if (length <= 0 || strncmp(name, "hutch.agent", 11) != 0) continue;
    snprintf(path, sizeof path, "/dev/%s", entry->d_name);
    file = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  }
  closedir(folder);
  return file;
}

/* Not by blocking writes: with interrupts off, the kernel would spin until the host has taken each. */
static int await_port(int file, short events) {
  struct pollfd port = {.fd = file, .events = events};
  return errno == EAGAIN && poll(&port, 1, -1) > 0 ? 0 : -1;
}

static int transfer(int file, uint8_t *bytes, size_t length, int writing) {
  for (size_t at = 0; at < length;) {
    ssize_t n = writing ? write(file, bytes + at, length - at) : read(file, bytes + at, length - at);
    if (n == 0 && writing) errno = EAGAIN; /* the port's queue was full after all */
    if (n == 0 && !writing) return -1;
    if (n <= 0 && await_port(file, writing ? POLLOUT : POLLIN) < 0) return -1;
    if (n > 0) at += (size_t)n;
  }
  return 0;
}

static _Noreturn void be_command(int pipe, uint8_t *bytes, uint32_t count, int giving) {
  for (uint32_t left = count; left > 0;) {
    size_t part = left < CHUNK ? left : CHUNK;
    ssize_t n = giving ? write(pipe, bytes, part) : read(pipe, bytes, part);
    if (n <= 0) _exit(1);
    left -= (uint32_t)n;
  }
  _exit(0);
}

/* Reads what is there, at least a byte: a port gives a page at a time, and a pipe is best given more. */
static ssize_t gather(int file, uint8_t *bytes, size_t length) {
  size_t at = 0;
  while (at < length) {
    ssize_t n = read(file, bytes + at, length - at);
    if (n == 0) return -1;
    if (n > 0) at += (size_t)n;
    else if (at > 0 && errno == EAGAIN) break;
    else if (await_port(file, POLLIN) < 0) return -1;
  }
  return (ssize_t)at;
}

/* Moves count bytes between the port and a child's pipe. */
static int through_pipe(int file, uint8_t *bytes, uint32_t count, int giving) {
  int ends[2], result = 0;
  if (pipe2(ends, O_CLOEXEC) < 0) return -1;
  fcntl(ends[0], F_SETPIPE_SZ, WIDE_PIPE);
  int ours = ends[!giving], theirs = ends[giving];
  pid_t child = fork();
  if (child == 0) {
    close(ours);
    be_command(theirs, bytes, count, giving);
  }
  close(theirs);
  for (uint32_t left = count; left > 0 && result == 0;) {
    ssize_t n = giving ? read(ours, bytes, CHUNK) : gather(file, bytes, left < CHUNK ? left : CHUNK);
    if (n <= 0) result = -1;
    else if (giving) result = transfer(file, bytes, (size_t)n, 1);
    else if (transfer(ours, bytes, (size_t)n, 1) < 0) result = -1;
    left -= n > 0 ? (uint32_t)n : 0;
  }
  close(ours);
  if (child > 0) waitpid(child, NULL, 0);
  return result;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int run_children(int file, uint32_t count) {
  uint64_t from = now_ns();
  for (uint32_t n = 0; n < count; n++) {
    pid_t child = fork();
    if (child == 0) {
      execl("/bin/true", "true", (char *)NULL);
      _exit(1);
    }
    if (child > 0) waitpid(child, NULL, 0);
  }
  uint64_t took = htobe64(now_ns() - from);
  return transfer(file, (uint8_t *)&took, sizeof took, 1);
}

int main(void) {
  static uint8_t bytes[CHUNK];
  mount("dev", "/dev", "devtmpfs", 0, NULL);
  mount("sys", "/sys", "sysfs", 0, NULL);
  int file;
  while ((file = open_port()) < 0) usleep(500); /* devices appear meanwhile */
  if (transfer(file, (uint8_t *)"R", 1, 1) < 0) return 1;
  for (uint8_t command[8]; transfer(file, command, 8, 0) == 0;) {
    uint32_t count = (uint32_t)command[4] << 24 | (uint32_t)command[5] << 16 |
                     (uint32_t)command[6] << 8 | command[7];
    int piped = command[0] == 'S' || command[0] == 'G';
    if (command[0] == 'x' && run_children(file, count) < 0) return 1;
    if (piped && through_pipe(file, bytes, count, command[0] == 'G') < 0) return 1;
    for (uint32_t left = command[0] == 'x' || piped ? 0 : count; left > 0;) {
      uint32_t part = left < CHUNK ? left : CHUNK;
      if (command[0] != 'g' && transfer(file, bytes, part, 0) < 0) return 1;
      if (command[0] != 's' && transfer(file, bytes, part, 1) < 0) return 1;
      left -= part;
    }
    if (strchr("sS", command[0])) transfer(file, bytes, 1, 1);
  }
  reboot(RB_AUTOBOOT);
  return 0;
}
