#define _GNU_SOURCE 1
#include "dns_servers.h"

#include "filter.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESOLV_CONF "/etc/resolv.conf"

static struct {
  struct address addresses[DNS_SERVERS];
  uint16_t ports[DNS_SERVERS];
  size_t count;
  bool given;
  struct timespec changed;
} servers;

void dns_servers(const struct address *addresses, const uint16_t *ports, size_t count) {
  servers.given = count > 0;
  servers.changed = (struct timespec){0};
  servers.count = count < DNS_SERVERS ? count : DNS_SERVERS;
  for (size_t i = 0; i < servers.count; i++) {
    servers.addresses[i] = addresses[i];
    servers.ports[i] = ports[i];
  }
}

size_t dns_server_count(void) {
  struct stat status;
  if (servers.given) return servers.count;
  if (stat(RESOLV_CONF, &status) == 0 && servers.count > 0 && status.st_mtim.tv_sec == servers.changed.tv_sec &&
      status.st_mtim.tv_nsec == servers.changed.tv_nsec) {
    return servers.count;
  }
  FILE *file = fopen(RESOLV_CONF, "re");
  char line[512], word[64];
  servers.count = 0;
  while (file != NULL && servers.count < DNS_SERVERS && fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, " nameserver %63s", word) != 1 || !address_parse(word, &servers.addresses[servers.count])) continue;
    servers.ports[servers.count++] = DNS_PORT;
  }
  if (file != NULL) {
    servers.changed = status.st_mtim;
    fclose(file);
  }
  if (servers.count > 0) return servers.count;
  address_parse("127.0.0.1", &servers.addresses[0]); /* what an empty file means */
  servers.ports[0] = DNS_PORT;
  servers.count = 1;
  return 1;
}

int dns_dial(int kind, size_t server) {
  struct sockaddr_storage name;
  socklen_t size = address_socket(&servers.addresses[server], servers.ports[server], &name);
  int fd = socket(name.ss_family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&name, size) < 0 && errno != EINPROGRESS) {
    close(fd);
    return -1;
  }
  return fd;
}
