/* PID 1 of the benchmark's floor: the channel with nothing on it. Speaks four commands of eight
 * bytes, a letter and a count (BE): 'e' echo count bytes, 's' swallow count bytes then answer one,
 * 'g' give count bytes, 'x' fork, exec and wait for /init with an argument count times, then
 * answer one. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK (256 * 1024)

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
    file = open(path, O_RDWR);
  }
  closedir(folder);
  return file;
}

static int transfer(int file, uint8_t *bytes, size_t length, int writing) {
  for (size_t at = 0; at < length;) {
    ssize_t n = writing ? write(file, bytes + at, length - at) : read(file, bytes + at, length - at);
    if (n <= 0) return -1;
    at += (size_t)n;
  }
  return 0;
}

static void run_children(uint32_t count) {
  for (uint32_t n = 0; n < count; n++) {
    pid_t child = fork();
    if (child == 0) {
      execl("/init", "/init", "child", (char *)NULL);
      _exit(1);
    }
    if (child > 0) waitpid(child, NULL, 0);
  }
}

int main(int argc, char **argv) {
  static uint8_t bytes[CHUNK];
  (void)argv;
  if (argc > 1) return 0;
  mount("dev", "/dev", "devtmpfs", 0, NULL);
  mount("sys", "/sys", "sysfs", 0, NULL);
  int file;
  while ((file = open_port()) < 0) usleep(500); /* devices appear meanwhile */
  if (transfer(file, (uint8_t *)"R", 1, 1) < 0) return 1;
  for (uint8_t command[8]; transfer(file, command, 8, 0) == 0;) {
    uint32_t count = (uint32_t)command[4] << 24 | (uint32_t)command[5] << 16 |
                     (uint32_t)command[6] << 8 | command[7];
    if (command[0] == 'x') run_children(count);
    for (uint32_t left = command[0] == 'x' ? 0 : count; left > 0;) {
      uint32_t part = left < CHUNK ? left : CHUNK;
      if (command[0] != 'g' && transfer(file, bytes, part, 0) < 0) return 1;
      if (command[0] != 's' && transfer(file, bytes, part, 1) < 0) return 1;
      left -= part;
    }
    if (command[0] == 's' || command[0] == 'x') transfer(file, bytes, 1, 1);
  }
  reboot(RB_AUTOBOOT);
  return 0;
}
