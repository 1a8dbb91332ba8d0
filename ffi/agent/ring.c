#define _GNU_SOURCE 1
#include "ring.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* Counts read at once. */
#define COUNTS 64

uint8_t *ring_open(void) {
  int file = memfd_create("copy", MFD_CLOEXEC);
  if (file < 0) return NULL;
  int sized = ftruncate(file, (off_t)RING_BYTES);
  uint8_t *ring = sized < 0 ? MAP_FAILED : mmap(NULL, 2 * RING_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (size_t half = 0; half < 2 && ring != MAP_FAILED; half++) {
    void *made = mmap(ring + half * RING_BYTES, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
    if (made != MAP_FAILED) continue;
    int error = errno;
    ring_close(ring);
    errno = error;
    ring = MAP_FAILED;
  }
  int error = errno;
  close(file);
  errno = error;
  return ring == MAP_FAILED ? NULL : ring;
}

void ring_keep(uint8_t *ring) {
  madvise(ring, 2 * RING_BYTES, MADV_DONTFORK);
}

void ring_close(uint8_t *ring) {
  munmap(ring, 2 * RING_BYTES);
}

void ring_wait(struct ring_end *end, size_t wanted) {
  while (end->count < wanted && !end->over) {
    uint32_t counts[COUNTS];
    ssize_t got = read(0, counts, sizeof counts);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) end->over = true;
    for (size_t i = 0; got > 0 && i < (size_t)got / sizeof *counts; i++) end->count += counts[i];
    if (end->count > RING_BYTES) end->over = true; /* somebody plays with it */
  }
}

bool ring_pass(struct ring_end *end, size_t count) {
  const uint32_t word = (uint32_t)count;
  end->at = (end->at + count) % RING_BYTES;
  end->count -= count;
  ssize_t put;
  do put = write(1, &word, sizeof word);
  while (put < 0 && errno == EINTR);
  return put == sizeof word;
}
