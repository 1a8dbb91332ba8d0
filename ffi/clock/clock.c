#define _GNU_SOURCE 1
#include "clock.h"

#ifdef __x86_64__

#include <cpuid.h>
#include <stdbool.h>
#include <time.h>
#include <x86intrin.h>

#define SPAN_NS 10000000
/* Of so many looks the one counts that nothing came between. */
#define LOOKS 16

struct look {
  uint64_t ticks, ns;
};

static bool counts_evenly(void) {
  unsigned a, b, c, d;
  return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & 1u << 8) != 0;
}

static struct look look(void) {
  struct look best = {0, 0};
  uint64_t shortest = UINT64_MAX;
  for (int i = 0; i < LOOKS; i++) {
    struct timespec now;
    uint64_t before = __rdtsc();
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t took = __rdtsc() - before;
    if (took >= shortest) continue;
    shortest = took;
    best = (struct look){before + took / 2, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec};
  }
  return best;
}

uint32_t hutch_clock_khz(void) {
  if (!counts_evenly()) return 0;
  struct look from = look();
  nanosleep(&(struct timespec){.tv_nsec = SPAN_NS}, NULL);
  struct look to = look();
  if (to.ns - from.ns < SPAN_NS / 2) return 0; /* a signal came, or the clock was tampered with */
  double khz = (double)(to.ticks - from.ticks) * 1e6 / (double)(to.ns - from.ns);
  return khz < 1e5 || khz > 1e7 ? 0 : (uint32_t)(khz + 0.5);
}

#else

uint32_t hutch_clock_khz(void) {
  return 0;
}

#endif
