/* Whether hutch_relay_trim() gives back what it says, and nothing that is somebody's. */
#include "relay.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { DEEP = 512 * 1024, BELOW = 1024 * 1024, STACK = 256 * 1024 };

static void check(int good, const char *what) {
  if (good) return;
  fprintf(stderr, "%s\n", what);
  exit(1);
}

/* KiB of the main thread's stack that are in memory. */
static long stack_kib(void) {
  FILE *smaps = fopen("/proc/self/smaps", "r");
  char line[512];
  long kib = -1;
  int stack = 0;
  check(smaps != NULL, "no smaps");
  while (fgets(line, sizeof line, smaps) != NULL) {
    if (strstr(line, "[stack]") != NULL) stack = 1;
    if (stack && sscanf(line, "Rss: %ld", &kib) == 1) break;
  }
  fclose(smaps);
  return kib;
}

static __attribute__((noinline)) int go_deep(void) {
  volatile char room[DEEP];
  for (size_t i = 0; i < sizeof room; i += 512) room[i] = 1;
  return room[DEEP / 2];
}

/* Its stack has other memory right below, as threads' stacks may. */
static void *trim(void *none) {
  hutch_relay_trim();
  return none;
}

int main(void) {
  char kept[4096];
  memset(kept, 7, sizeof kept);
  check(go_deep() == 1, "no stack");
  long before = stack_kib();
  hutch_relay_trim();
  long after = stack_kib();
  check(before >= DEEP / 1024 && after <= 160, "the stack isn't given back");
  for (size_t i = 0; i < sizeof kept; i++) check(kept[i] == 7, "what is on the stack is lost");
  check(go_deep() == 1, "the stack can't be used again");

  char *memory = mmap(NULL, BELOW + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(memory != MAP_FAILED, "no memory");
  memset(memory, 5, BELOW);
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  check(pthread_attr_setstack(&attributes, memory + BELOW, STACK) == 0, "no stack for a thread");
  check(pthread_create(&thread, &attributes, trim, NULL) == 0 && pthread_join(thread, NULL) == 0, "no thread");
  for (size_t i = 0; i < BELOW; i++) check(memory[i] == 5, "what is below a thread's stack is lost");
  return 0;
}
