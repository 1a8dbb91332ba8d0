#include "confine.h"

#include "calls.h"
#include "landlock.h"
#include "threads.h"

#include <unistd.h>

uint32_t hutch_confine_support(void) {
  int version = landlock_version();
  uint32_t bits = version > 0 ? HUTCH_CONFINE_LANDLOCK : 0;
  if (calls_can_be_refused()) bits |= HUTCH_CONFINE_SECCOMP;
  return bits | (uint32_t)version << 8;
}

static int confine_files(int version, const char *rules) {
  int made = landlock_rules(version, rules);
  if (made < 0) return made;
  int result = threads_all(landlock_enter, made);
  close(made);
  return result;
}

int hutch_confine(const char *rules, uint32_t *done) {
  *done = 0;
  int version = landlock_version(), result = 0;
  if (version > 0) {
    result = confine_files(version, rules);
    if (result < 0) return result;
    *done |= HUTCH_CONFINE_LANDLOCK;
  }
  if (calls_can_be_refused()) {
    result = calls_refuse();
    if (result < 0) return result;
    *done |= HUTCH_CONFINE_SECCOMP;
  }
  return 0;
}
