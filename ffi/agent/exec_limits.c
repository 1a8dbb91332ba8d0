#define _GNU_SOURCE 1
#include "exec_limits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static const struct {
  const char *name;
  int resource;
} LIMITS[EXEC_LIMIT_COUNT] = {
  {"as", RLIMIT_AS}, {"core", RLIMIT_CORE}, {"cpu", RLIMIT_CPU}, {"data", RLIMIT_DATA},
  {"fsize", RLIMIT_FSIZE}, {"locks", RLIMIT_LOCKS}, {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE},
  {"nice", RLIMIT_NICE}, {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}, {"rss", RLIMIT_RSS},
  {"rtprio", RLIMIT_RTPRIO}, {"rttime", RLIMIT_RTTIME}, {"sigpending", RLIMIT_SIGPENDING}, {"stack", RLIMIT_STACK},
};

int exec_limit_resource(const uint8_t *name, size_t length) {
  for (size_t i = 0; i < EXEC_LIMIT_COUNT; i++) {
    if (strlen(LIMITS[i].name) == length && memcmp(LIMITS[i].name, name, length) == 0) return LIMITS[i].resource;
  }
  return -1;
}

static const char *name_of(int resource) {
  for (size_t i = 0; i < EXEC_LIMIT_COUNT; i++) {
    if (LIMITS[i].resource == resource) return LIMITS[i].name;
  }
  return "?";
}

static const char *amount(uint64_t value, char *text, size_t size) {
  if (value == EXEC_LIMIT_NONE) return "unlimited";
  snprintf(text, size, "%llu", (unsigned long long)value);
  return text;
}

int exec_limits_set(const struct exec_limit *limits, size_t count, struct failure *failure) {
  for (size_t i = 0; i < count; i++) {
    const struct exec_limit *limit = &limits[i];
    struct rlimit value = {.rlim_cur = limit->soft, .rlim_max = limit->hard};
    if (setrlimit((__rlimit_resource_t)limit->resource, &value) == 0) continue;
    int error = errno;
    char soft[24], hard[24];
    failure_set(failure, FAILURE_LIMIT_REFUSED, error, "limit %s to %s, at most %s: %s", name_of(limit->resource),
                amount(limit->soft, soft, sizeof soft), amount(limit->hard, hard, sizeof hard), strerror(error));
    return -1;
  }
  return 0;
}
