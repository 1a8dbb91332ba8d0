#define _GNU_SOURCE 1
#ifndef HUTCH_NATIVE
#include "boot.h"

#include "../protocol.h"
#include "box.h"
#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORTS "/sys/class/virtio-ports"
#define CHANNEL_WAIT_MS 60000 /* the host gives up long before */
#define MAX_FILES 1048576

static void mount_or_log(const char *type, const char *path, unsigned long flags) {
  /* The kernel may have mounted /dev by itself: EBUSY. */
  if (mount(type, path, type, flags, NULL) < 0 && errno != EBUSY) {
    log_line("mount %s on %s: %s", type, path, strerror(errno));
  }
}

void boot_early(void) {
  mount_or_log("devtmpfs", "/dev", MS_NOSUID);
  mount_or_log("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC);
  /* Without a console the numbers 0 to 2 would go to other files. */
  int fd;
  do fd = open("/dev/null", O_RDWR | O_CLOEXEC); while (fd >= 0 && fd <= 2);
  if (fd > 2) close(fd);
}

/* Opens the port whose name file says HUTCH_PORT_NAME; -ENOENT if there is none (yet). It is looked for
 * once: the machine keeps its devices, also when its memory goes on elsewhere. */
static int open_port(void) {
  static char device[32];
  if (*device != '\0') {
    int port = open(device, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    return port < 0 ? -errno : port;
  }
  DIR *ports = opendir(PORTS);
  if (ports == NULL) return -ENOENT;
  int result = -ENOENT;
  for (struct dirent *entry; result == -ENOENT && (entry = readdir(ports)) != NULL;) {
    char path[sizeof PORTS + sizeof entry->d_name + 8], name[sizeof HUTCH_PORT_NAME + 1];
    if (entry->d_name[0] == '.') continue;
    /* The file is there once the host has told the name. */
    snprintf(path, sizeof path, PORTS "/%s/name", entry->d_name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, name, sizeof name);
    if (file >= 0) close(file);
    if (got != sizeof name - 1 || memcmp(name, HUTCH_PORT_NAME "\n", sizeof name - 1) != 0) continue;
    if (snprintf(device, sizeof device, "/dev/%s", entry->d_name) >= (int)sizeof device) continue;
    result = open(device, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (result < 0) result = -errno;
  }
  if (result < 0) *device = '\0';
  closedir(ports);
  return result;
}

int boot_channel(void) {
  uint64_t deadline = now_ms() + CHANNEL_WAIT_MS;
  int port;
  while ((port = open_port()) < 0 && now_ms() < deadline) {
    /* Devices appear while the first process runs already. */
    nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
  }
  return port;
}

void boot_network(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0) log_line("bring lo up: %s", strerror(errno));
  if (fd >= 0) close(fd);
}

static void set(const char *path, const char *value) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, value, strlen(value)) < 0) log_line("set %s: %s", path, strerror(errno));
  if (fd >= 0) close(fd);
}

/* A command that writes much isn't interrupted at each write, only when its pipe is full or its time
 * is over; one processor is the usual case. Children start with the normal policy again. */
static void yield_to_commands(void) {
  struct sched_param none = {0};
  if (sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none) < 0) log_line("set the policy: %s", strerror(errno));
}

void boot_late(void) {
  mount_or_log("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
  /* A kernel in trouble must not stay half alive: the host sees its end and can say so. */
  set("/proc/sys/kernel/panic", "-1");
  set("/proc/sys/kernel/panic_on_oops", "1");
  struct rlimit files = {MAX_FILES, MAX_FILES};
  if (setrlimit(RLIMIT_NOFILE, &files) < 0) log_line("raise the limit of open files: %s", strerror(errno));
  prctl(PR_SET_DUMPABLE, 0);
  yield_to_commands();
}

#endif
