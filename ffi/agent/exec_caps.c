#define _GNU_SOURCE 1
#include "exec_caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NUMBERS 64

static int refused(struct failure *failure, const char *what) {
  int error = errno;
  failure_set(failure, FAILURE_LIMIT_REFUSED, error, "%s: %s", what, strerror(error));
  return -1;
}

int exec_caps_bound(const struct exec_caps *caps, struct failure *failure) {
  for (unsigned long number = 0; number < NUMBERS; number++) {
    int there = prctl(PR_CAPBSET_READ, number, 0, 0, 0);
    if (there < 0) break; /* the kernel knows no more */
    if (there == 0 || caps->keep >> number & 1) continue;
    if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0) return refused(failure, "drop a capability");
  }
  return 0;
}

int exec_caps_hold(struct failure *failure) {
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return refused(failure, "keep capabilities");
  return 0;
}

/* Sets effective, permitted and inheritable capabilities. The first can only become fewer. */
static int set(uint64_t permitted, uint64_t inheritable) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct data[2];
  for (unsigned i = 0; i < 2; i++) {
    data[i].effective = data[i].permitted = (uint32_t)(permitted >> (32 * i));
    data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
  }
  return (int)syscall(SYS_capset, &header, data);
}

static int permitted_now(uint64_t *permitted) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) < 0) return -1;
  *permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
  return 0;
}

int exec_caps_take(const struct exec_caps *caps, bool is_root, struct failure *failure) {
  uint64_t permitted;
  if (permitted_now(&permitted) < 0) return refused(failure, "read the capabilities");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return refused(failure, "clear capabilities");
  if (is_root) {
    /* Nothing inheritable: execve adds that to what the bounding set allows. */
    return set(caps->keep & permitted, 0) < 0 ? refused(failure, "drop capabilities") : 0;
  }
  if (set(caps->give, caps->give) < 0) return refused(failure, "give the capabilities");
  for (unsigned long number = 0; number < NUMBERS; number++) {
    if (!(caps->give >> number & 1)) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) < 0) return refused(failure, "give a capability");
  }
  return 0;
}
