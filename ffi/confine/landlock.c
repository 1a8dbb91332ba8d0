#define _GNU_SOURCE 1
#include "landlock.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __linux__
#include <fcntl.h>
#include <sys/prctl.h>

/* The kernel's interface, as far as we use it: the system's headers may be older than its kernel. */
enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446 };
enum { CREATE_RULESET_VERSION = 1, RULE_PATH_BENEATH = 1 };

struct ruleset {
  uint64_t files;
  uint64_t ports;
  uint64_t scopes;
};

struct path_rule {
  uint64_t files;
  int32_t parent;
} __attribute__((packed));

#define RIGHT(bit) (1ull << (bit))
#define EXECUTE RIGHT(0)
#define WRITE_FILE RIGHT(1)
#define READ_FILE RIGHT(2)
#define READ_DIR RIGHT(3)
#define REMOVE_FILE RIGHT(5)
#define TRUNCATE RIGHT(14)
#define IOCTL_DEV RIGHT(15)
/* Those that a rule for a file, not a folder, may have. */
#define OF_FILES (EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV)
#define BIND_AND_CONNECT_TCP 3ull
#define ABSTRACT_UNIX_SOCKETS 1ull

int landlock_version(void) {
  long version = syscall(CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);
  return version < 0 ? 0 : (int)version;
}

/* Every right over files that a version knows. */
static uint64_t all_rights(int version) {
  if (version >= 5) return RIGHT(16) - 1;
  if (version >= 3) return RIGHT(15) - 1;
  return version == 2 ? RIGHT(14) - 1 : RIGHT(13) - 1;
}

static uint64_t rights_of(char kind, uint64_t all) {
  switch (kind) {
  case 'r': return READ_FILE | READ_DIR;
  case 'w': return all & ~EXECUTE;
  case 'd': return REMOVE_FILE;
  default: return 0;
  }
}

static int add_rule(int rules, char kind, const char *path, uint64_t all) {
  uint64_t rights = rights_of(kind, all);
  if (rights == 0 || *path != '/') return -EINVAL;
  int parent = open(path, O_PATH | O_CLOEXEC);
  if (parent < 0) return errno == ENOENT ? 0 : -errno;
  struct stat status;
  int result = fstat(parent, &status) < 0 ? -errno : 0;
  if (result == 0 && !S_ISDIR(status.st_mode)) rights &= OF_FILES;
  struct path_rule rule = {.files = rights, .parent = parent};
  if (result == 0 && rights != 0 && syscall(ADD_RULE, rules, RULE_PATH_BENEATH, &rule, 0) < 0) result = -errno;
  close(parent);
  return result;
}

int landlock_rules(int version, const char *list) {
  struct ruleset handled = {
    .files = all_rights(version),
    .ports = version >= 4 ? BIND_AND_CONNECT_TCP : 0,
    .scopes = version >= 6 ? ABSTRACT_UNIX_SOCKETS : 0,
  };
  size_t size = version >= 6 ? sizeof handled : version >= 4 ? 16 : 8; /* older ones want no more */
  long rules = syscall(CREATE_RULESET, &handled, size, 0);
  if (rules < 0) return -errno;
  int result = add_rule((int)rules, 'r', "/proc/self", handled.files);
  for (const char *rule = list; result == 0 && *rule != 0; rule += strlen(rule) + 1)
    result = add_rule((int)rules, rule[0], rule + 1, handled.files);
  if (result == 0) return (int)rules;
  close((int)rules);
  return result;
}

int landlock_enter(int rules) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  return syscall(RESTRICT_SELF, rules, 0) < 0 ? -errno : 0;
}
#else
int landlock_version(void) {
  return 0;
}

int landlock_rules(int version, const char *list) {
  (void)version;
  (void)list;
  return -ENOSYS;
}

int landlock_enter(int rules) {
  (void)rules;
  return -ENOSYS;
}
#endif
