/* Feeds the comparison of disks what it must survive. Built with sanitizers by tests/ffi/diff_test.ts.
 *
 * driver ROUNDS BASE DISK...: compares each disk with BASE as it is, then ROUNDS mutations of each. The
 * same arguments do the same. Prints how many could be read, and how many were refused. */
#define _GNU_SOURCE 1
#include "diff.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST (UINT64_C(1) << 24)
#define ENTRIES 2000
#define CHANGES 6

static uint64_t state = 1;

static uint32_t next(uint32_t below)
{
  state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
  return (uint32_t)(state >> 33) % below;
}

static int compare(const char *disk, const char *base, int whole)
{
  char files[8192];
  uint8_t buffer[65536];
  int size = snprintf(files, sizeof files, "r%s%cr%s", disk, 0, base) + 1;
  hutch_diff *diff;
  int result = hutch_diff_open(files, (size_t)size, whole, ENTRIES, NULL, &diff);
  for (uint64_t done = 0; result >= 0 && done < MOST;) {
    int64_t got = hutch_diff_read(diff, buffer, sizeof buffer);
    if (got <= 0) {
      result = (int)got;
      break;
    }
    done += (uint64_t)got;
  }
  hutch_diff_close(diff);
  return result;
}

/* A place that holds something: what is zero is mostly nothing that anybody reads. */
static off_t place(int fd, uint32_t size)
{
  for (int i = 0; i < 1000; i++) {
    off_t at = next(4) == 0 ? (off_t)next(4096) : (off_t)next(size);
    uint8_t byte;
    if (pread(fd, &byte, 1, at) == 1 && byte != 0) return at;
  }
  return 1024;
}

static int mutated(const char *disk, const char *base)
{
  static const uint8_t VALUES[] = {0, 1, 2, 0x7f, 0x80, 0xff};
  int fd = open(disk, O_RDWR | O_CLOEXEC);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) < 0) abort();
  off_t at[CHANGES];
  uint8_t was[CHANGES];
  uint32_t count = 1 + next(CHANGES);
  for (uint32_t i = 0; i < count; i++) {
    at[i] = place(fd, (uint32_t)status.st_size);
    uint8_t byte = next(2) == 0 ? VALUES[next(sizeof VALUES)] : (uint8_t)next(256);
    if (pread(fd, &was[i], 1, at[i]) != 1 || pwrite(fd, &byte, 1, at[i]) != 1) abort();
  }
  int result = compare(disk, base, (int)next(2));
  for (uint32_t i = count; i-- > 0;)
    if (pwrite(fd, &was[i], 1, at[i]) != 1) abort();
  close(fd);
  return result;
}

int main(int argc, char **argv)
{
  int good = 0, refused = 0;
  for (int i = 3; i < argc; i++) {
    for (int whole = 0; whole < 2; whole++) {
      int result = compare(argv[i], argv[2], whole);
      if (result < 0) printf("%s as it is: %d\n", argv[i], result);
      if (result < 0) return 1;
    }
    for (int round = 0; round < atoi(argv[1]); round++) {
      if (mutated(argv[i], argv[2]) < 0) refused++;
      else good++;
    }
  }
  printf("%d read, %d refused\n", good, refused);
  return 0;
}
