#define _GNU_SOURCE 1
#include "intercept.h"

#include "control.h"
#include "hooks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct {
  struct sockaddr_un socket;
  char *names[INTERCEPT_NAMES_MAX];
  size_t count;
} interceptor;

int intercept_set(struct filter *filter, char *const *words, size_t count) {
  for (size_t i = 0; i < interceptor.count; i++) free(interceptor.names[i]);
  interceptor.count = 0;
  filter->gate_all = false;
  if (count == 0) return 0;
  if (count - 1 > INTERCEPT_NAMES_MAX || strlen(words[0]) >= sizeof interceptor.socket.sun_path) return -ENAMETOOLONG;
  interceptor.socket = (struct sockaddr_un){.sun_family = AF_UNIX};
  strcpy(interceptor.socket.sun_path, words[0]);
  for (size_t i = 1; i < count; i++) {
    char *name = strdup(words[i]);
    if (name == NULL || !name_pattern(name)) {
      free(name);
      return name == NULL ? -ENOMEM : -EINVAL;
    }
    interceptor.names[interceptor.count++] = name;
  }
  filter->gate_all = true;
  return 0;
}

bool intercept_wants(const struct filter *filter, const struct flow_key *key, bool tls, const char *name) {
  if (!filter->gate_all) return false;
  if (!tls || key->remote_port == HTTPS_PORT) return true;
  for (size_t i = 0; i < interceptor.count; i++) {
    if (name_fits(interceptor.names[i], name)) return true;
  }
  return false;
}

bool intercept_misses(const struct filter *filter, const struct flow_key *key, bool tls, bool hides) {
  if (!filter->gate_all) return false;
  if (key->remote_port == HTTPS_PORT) return true;
  /* By TLS it may be for a host that hooks are asked about on any port; without it, for any. */
  return hides && (!tls || (interceptor.count > 0 && hooks_want(HOOK_REQUEST)));
}

bool intercept_line(const struct address *to, uint16_t port, bool tls, const char *name, char *line, size_t size) {
  char address[ADDRESS_TEXT];
  const char *door = hooks_want(HOOK_REQUEST) ? control_door() : "-";
  if (door == NULL) return false;
  address_format(to, address);
  int length = snprintf(line, size, "%s %s %u %s %s\n", tls ? "tls" : "http", address, port, name, door);
  return length > 0 && (size_t)length < size;
}

int intercept_dial(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&interceptor.socket, sizeof interceptor.socket) == 0) return fd;
  close(fd);
  return -1;
}
