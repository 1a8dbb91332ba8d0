/* What was started beside this process: by hutch-share, which became it (ffi/share/beside.c). */
#define _GNU_SOURCE 1
#include "child_own.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>

/* The next number of a list; false: there is none. */
static bool next_number(const char **text, int32_t *number) {
  char *end;
  long value = strtol(*text, &end, 10);
  if (end == *text || value < -1 || value > INT_MAX) return false;
  *number = (int32_t)value;
  *text = end;
  return true;
}

int32_t hutch_child_beside(struct hutch_beside *beside) {
  static atomic_bool taken;
  const char *text = getenv("HUTCH_BESIDE"); /* of hutch-share alone: what starts it gives it no such variable */
  int32_t pid;
  int ours[HUTCH_CHILD_THIRD + 1] = {-1, -1, -1, -1};
  if (text == NULL || atomic_exchange(&taken, true)) return -ENOENT;
  if (!next_number(&text, &pid) || !next_number(&text, &ours[2]) || !next_number(&text, &beside->transfer) ||
      !next_number(&text, &beside->network)) return -EINVAL;
  const int fds[] = {ours[2], beside->transfer, beside->network};
  for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
    if (fds[i] >= 0 && fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0) return -errno;
  siginfo_t end;
  if (waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG | WNOWAIT) < 0) return -errno; /* it isn't ours */
  beside->child = calloc(1, sizeof *beside->child);
  if (beside->child == NULL) return -ENOMEM;
  hutch_child_fill(beside->child, pid, ours);
  return 0;
}
