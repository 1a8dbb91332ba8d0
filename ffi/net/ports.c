#include "ports.h"

#include "stack.h"

#include <errno.h>
#include <string.h>

static struct port ports[PORTS_MAX];
static unsigned port_count;

const struct port *ports_list(unsigned *count) {
  *count = port_count;
  return ports;
}

int ports_add(struct filter *filter, uint8_t protocol, const struct address *address, uint16_t *host, uint16_t guest) {
  if (port_count == PORTS_MAX) return -ENOSPC;
  int error = stack_publish(protocol, address, host, guest);
  if (error < 0) return error;
  ports[port_count++] = (struct port){.protocol = protocol, .address = *address, .host = *host, .guest = guest};
  filter_publish(filter, protocol, guest, true);
  return 0;
}

int ports_remove(struct filter *filter, uint8_t protocol, const struct address *address, uint16_t host) {
  unsigned at = 0;
  while (at < port_count && !(ports[at].protocol == protocol && ports[at].host == host && address_equal(&ports[at].address, address))) at++;
  if (at == port_count) return -ENOENT;
  int error = stack_unpublish(protocol, address, host);
  if (error < 0) return error;
  uint16_t guest = ports[at].guest;
  memmove(ports + at, ports + at + 1, (--port_count - at) * sizeof *ports);
  bool other = false;
  for (unsigned i = 0; i < port_count; i++) other = other || (ports[i].protocol == protocol && ports[i].guest == guest);
  if (!other) filter_publish(filter, protocol, guest, false);
  return 0;
}
