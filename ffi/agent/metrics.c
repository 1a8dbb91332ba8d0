/* The program "metrics": one CBOR map on standard output about the guest, from its /proc and the box's
 * root. What can't be read is left out. Times are in ms, sizes in bytes, counters since the boot. */
#include "builtin.h"
#include "cbor_out.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MAX_INTERFACES 8
#define KERNEL_THREAD 0x00200000u /* PF_KTHREAD among the flags in /proc/PID/stat */

static void number(struct cbor_out *out, const char *name, uint64_t value) {
  cbor_out_text(out, name);
  cbor_out_uint(out, value);
}

static bool add_cpu(struct cbor_out *out) {
  unsigned long long user, nice, system, idle, waiting, irq, soft_irq, steal;
  FILE *file = fopen("/proc/stat", "re");
  if (file == NULL) return false;
  int read = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &waiting, &irq,
                    &soft_irq, &steal);
  fclose(file);
  long ticks = sysconf(_SC_CLK_TCK), count = sysconf(_SC_NPROCESSORS_ONLN);
  if (read != 8 || ticks <= 0 || count <= 0) return false;
  const uint64_t tick_ms = 1000 / (uint64_t)ticks;
  cbor_out_text(out, "cpu");
  cbor_out_map(out, 5);
  number(out, "count", (uint64_t)count);
  number(out, "userMs", (user + nice) * tick_ms);
  number(out, "systemMs", (system + irq + soft_irq) * tick_ms);
  number(out, "idleMs", (idle + waiting) * tick_ms);
  number(out, "stolenMs", steal * tick_ms);
  return true;
}

static bool add_load(struct cbor_out *out) {
  double loads[3];
  FILE *file = fopen("/proc/loadavg", "re");
  if (file == NULL) return false;
  int read = fscanf(file, "%lf %lf %lf", &loads[0], &loads[1], &loads[2]);
  fclose(file);
  if (read != 3) return false;
  static const char *const NAMES[] = {"minute", "five", "fifteen"};
  cbor_out_text(out, "loadMilli");
  cbor_out_map(out, 3);
  for (int i = 0; i < 3; i++) number(out, NAMES[i], (uint64_t)(loads[i] * 1000 + 0.5));
  return true;
}

static bool add_memory(struct cbor_out *out) {
  static const struct { const char *line, *name; } WANTED[] = {
    {"MemTotal", "totalBytes"}, {"MemFree", "freeBytes"}, {"MemAvailable", "availableBytes"}, {"Cached", "cachedBytes"},
    {"SwapTotal", "swapTotalBytes"}, {"SwapFree", "swapFreeBytes"},
  };
  enum { COUNT = sizeof WANTED / sizeof *WANTED };
  uint64_t values[COUNT] = {0};
  char name[64];
  unsigned long long kib;
  FILE *file = fopen("/proc/meminfo", "re");
  if (file == NULL) return false;
  unsigned found = 0;
  while (fscanf(file, "%63[^:]: %llu%*[^\n] ", name, &kib) == 2) {
    for (unsigned i = 0; i < COUNT; i++) {
      if (strcmp(name, WANTED[i].line) != 0) continue;
      values[i] = kib * 1024;
      found++;
    }
  }
  fclose(file);
  if (found != COUNT) return false;
  cbor_out_text(out, "memory");
  cbor_out_map(out, COUNT);
  for (unsigned i = 0; i < COUNT; i++) number(out, WANTED[i].name, values[i]);
  return true;
}

static bool add_disk(struct cbor_out *out) {
  struct statvfs status;
  if (statvfs("/", &status) < 0) return false;
  cbor_out_text(out, "disk");
  cbor_out_map(out, 5);
  number(out, "totalBytes", (uint64_t)status.f_blocks * status.f_frsize);
  number(out, "freeBytes", (uint64_t)status.f_bfree * status.f_frsize);
  number(out, "availableBytes", (uint64_t)status.f_bavail * status.f_frsize);
  number(out, "files", status.f_files);
  number(out, "freeFiles", status.f_ffree);
  return true;
}

struct interface {
  char name[32];
  unsigned long long in_bytes, in_packets, out_bytes, out_packets;
};

static bool add_network(struct cbor_out *out) {
  struct interface found[MAX_INTERFACES];
  unsigned count = 0;
  char line[512];
  FILE *file = fopen("/proc/net/dev", "re");
  if (file == NULL) return false;
  while (count < MAX_INTERFACES && fgets(line, sizeof line, file) != NULL) {
    struct interface *next = &found[count];
    if (sscanf(line, " %31[^:]: %llu %llu %*u %*u %*u %*u %*u %*u %llu %llu", next->name, &next->in_bytes,
               &next->in_packets, &next->out_bytes, &next->out_packets) == 5) {
      count++;
    }
  }
  fclose(file);
  cbor_out_text(out, "network");
  cbor_out_map(out, count);
  for (unsigned i = 0; i < count; i++) {
    cbor_out_text(out, found[i].name);
    cbor_out_map(out, 4);
    number(out, "receivedBytes", found[i].in_bytes);
    number(out, "receivedPackets", found[i].in_packets);
    number(out, "sentBytes", found[i].out_bytes);
    number(out, "sentPackets", found[i].out_packets);
  }
  return true;
}

/* Whether it counts, and its threads. Its name may hold anything, the closing bracket included. */
static bool read_process(const char *pid, uint64_t *threads) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%.16s/stat", pid);
  FILE *file = fopen(path, "re");
  if (file == NULL) return false; /* it has ended */
  size_t got = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[got] = '\0';
  const char *rest = strrchr(text, ')');
  unsigned flags;
  unsigned long long count;
  if (rest == NULL || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %llu",
                             &flags, &count) != 2) {
    return false;
  }
  if (flags & KERNEL_THREAD) return false;
  *threads += count;
  return true;
}

/* All processes but the kernel's own, the first one (the agent) and this. */
static bool add_processes(struct cbor_out *out) {
  DIR *folder = opendir("/proc");
  if (folder == NULL) return false;
  uint64_t processes = 0, threads = 0;
  const long self = getpid();
  for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (!isdigit((unsigned char)entry->d_name[0])) continue;
    long pid = strtol(entry->d_name, NULL, 10);
    if (pid != 1 && pid != self && read_process(entry->d_name, &threads)) processes++;
  }
  closedir(folder);
  cbor_out_text(out, "processes");
  cbor_out_map(out, 2);
  number(out, "count", processes);
  number(out, "threads", threads);
  return true;
}

int metrics_main(int argc, char **argv) {
  (void)argc;
  (void)argv;
  static bool (*const PARTS[])(struct cbor_out *) = {add_cpu, add_load, add_memory, add_disk, add_network, add_processes};
  struct cbor_out out = {0};
  unsigned added = 0;
  cbor_out_map(&out, 0); /* one byte, which takes the count below */
  for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++) added += PARTS[i](&out);
  out.bytes[0] = (uint8_t)(out.bytes[0] | added);
  if (out.overflow) return 1;
  for (size_t at = 0; at < out.length;) {
    ssize_t put = write(STDOUT_FILENO, out.bytes + at, out.length - at);
    if (put < 0 && errno != EINTR) return 1;
    if (put > 0) at += (size_t)put;
  }
  return 0;
}
