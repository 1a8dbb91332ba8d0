/* Memory that starting took. See relay.h. */
#define _GNU_SOURCE 1
#include "relay.h"

#ifdef __linux__

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

/* Left below the caller, and given back below that. Together less than the megabyte that the kernel keeps
 * free below a stack, so that nothing else is there. */
#define STACK_LEFT (64 * 1024u)
#define STACK_GIVEN (768 * 1024u)

static void give_stack_back(void) {
  char here = 0;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t end = ((uintptr_t)(void *)&here - STACK_LEFT) / page * page;
  /* It says that a part isn't there, and does the rest. */
  madvise((void *)(end - STACK_GIVEN), STACK_GIVEN, MADV_DONTNEED);
}

void hutch_relay_trim(void) {
  malloc_trim(0);
  /* Other threads' stacks have another thread's memory below them. */
  if (gettid() == getpid()) give_stack_back();
}

#else

void hutch_relay_trim(void) {}

#endif
