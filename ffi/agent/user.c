#define _GNU_SOURCE 1
#include "user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads a whole regular file. A missing one is empty. NULL: failure with errno. */
static char *read_file(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return errno == ENOENT || errno == ENOTDIR ? calloc(1, 1) : NULL;
  struct stat status;
  char *text = NULL;
  if (fstat(fd, &status) < 0) goto out;
  if (!S_ISREG(status.st_mode) || status.st_size > USER_MAX_FILE) {
    errno = S_ISREG(status.st_mode) ? EFBIG : EINVAL;
    goto out;
  }
  size_t size = (size_t)status.st_size, used = 0;
  text = malloc(size + 1);
  if (text == NULL) goto out;
  while (used < size) {
    ssize_t got = read(fd, text + used, size - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      free(text);
      text = NULL;
      goto out;
    }
    if (got == 0) break;
    used += (size_t)got;
  }
  text[used] = '\0';
out:;
  int saved = errno;
  close(fd);
  errno = saved;
  return text;
}

/* The next line of *at without its end, or NULL at the end of the text. */
static char *next_line(char **at) {
  if (**at == '\0') return NULL;
  char *line = *at;
  char *end = strchr(line, '\n');
  if (end == NULL) {
    *at = line + strlen(line);
  } else {
    *end = '\0';
    *at = end + 1;
  }
  return line;
}

/* Splits a line at its first `count - 1` colons; false if there are fewer. */
static bool split(char *line, char **fields, size_t count) {
  for (size_t i = 0; i < count; i++) {
    fields[i] = line;
    if (i + 1 == count) break;
    line = strchr(line, ':');
    if (line == NULL) return false;
    *line++ = '\0';
  }
  return true;
}

/* A decimal number below 2^32 - 1 (which means "no change" to the kernel). */
static bool number(const char *text, uint32_t *value) {
  uint64_t sum = 0;
  if (*text == '\0') return false;
  for (; *text != '\0'; text++) {
    if (*text < '0' || *text > '9') return false;
    sum = sum * 10 + (uint64_t)(*text - '0');
    if (sum >= UINT32_MAX) return false;
  }
  *value = (uint32_t)sum;
  return true;
}

/* Finds the passwd line of `name`, or of its number; the first that fits counts. */
static int find_user(const char *name, const char *path, struct user *user, char **login,
                     struct failure *failure) {
  uint32_t wanted = 0;
  bool numeric = number(name, &wanted);
  char *text = read_file(path);
  if (text == NULL && !numeric) {
    failure_set(failure, FAILURE_FAILED, errno, "read %s: %s", path, strerror(errno));
    return -1;
  }
  int result = -1;
  char none[] = "", *at = text == NULL ? none : text; /* a number needs no file */
  for (char *line; result < 0 && (line = next_line(&at)) != NULL;) {
    char *fields[7];
    uint32_t uid, gid;
    if (!split(line, fields, 7) || !number(fields[2], &uid) || !number(fields[3], &gid)) continue;
    if (strcmp(fields[0], name) != 0 && !(numeric && uid == wanted)) continue;
    user->uid = uid;
    user->gid = gid;
    if (fields[5][0] == '/' && strlen(fields[5]) < sizeof user->home) strcpy(user->home, fields[5]);
    *login = strdup(fields[0]);
    result = *login == NULL ? -2 : 0;
  }
  free(text);
  if (result == -1 && numeric) {
    user->uid = wanted;
    result = 0;
  }
  if (result == -1) failure_set(failure, FAILURE_NO_SUCH_USER, 0, "user %s isn't in %s", name, path);
  if (result == -2) failure_set(failure, FAILURE_FAILED, ENOMEM, "no memory to look up user %s", name);
  return result < 0 ? -1 : 0;
}

static bool lists(char *members, const char *login) {
  for (char *rest = members, *member; (member = strsep(&rest, ",")) != NULL;) {
    if (strcmp(member, login) == 0) return true;
  }
  return false;
}

/* With `name`: that group becomes the only one. Without: all that list `login` are added. */
static int find_groups(const char *name, const char *login, const char *path, struct user *user,
                       struct failure *failure) {
  char *text = read_file(path);
  if (text == NULL) {
    failure_set(failure, FAILURE_FAILED, errno, "read %s: %s", path, strerror(errno));
    return -1;
  }
  uint32_t wanted = 0;
  bool found = name != NULL && number(name, &wanted);
  char *at = text;
  for (char *line; (line = next_line(&at)) != NULL;) {
    char *fields[4];
    uint32_t gid;
    if (!split(line, fields, 4) || !number(fields[2], &gid)) continue;
    if (name != NULL && strcmp(fields[0], name) == 0) {
      wanted = gid;
      found = true;
      break;
    }
    if (name == NULL && user->group_count < USER_MAX_GROUPS && lists(fields[3], login)) {
      user->groups[user->group_count++] = gid;
    }
  }
  free(text);
  if (name == NULL) return 0;
  if (!found) {
    failure_set(failure, FAILURE_NO_SUCH_USER, 0, "group %s isn't in %s", name, path);
    return -1;
  }
  user->gid = wanted;
  return 0;
}

int user_lookup(const char *spec, const char *passwd_path, const char *group_path, struct user *user,
                struct failure *failure) {
  user->uid = 0;
  user->gid = 0;
  user->group_count = 0;
  strcpy(user->home, "/");
  char *name = strdup(*spec == '\0' ? "0" : spec);
  if (name == NULL) {
    failure_set(failure, FAILURE_FAILED, ENOMEM, "no memory to look up user %s", spec);
    return -1;
  }
  char *group = strchr(name, ':');
  if (group != NULL) *group++ = '\0';
  char *login = NULL;
  int result = find_user(*name == '\0' ? "0" : name, passwd_path, user, &login, failure);
  if (group != NULL && *group == '\0') group = NULL;
  if (result == 0 && (group != NULL || login != NULL)) {
    result = find_groups(group, login, group_path, user, failure);
  }
  free(login);
  free(name);
  return result;
}
