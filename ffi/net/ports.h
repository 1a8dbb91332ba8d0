/* The ports of this machine that lead to the box. */
#ifndef HUTCH_NET_PORTS_H
#define HUTCH_NET_PORTS_H

#include "filter.h"

enum { PORTS_MAX = 1024 };

struct port {
  uint8_t protocol;
  struct address address;
  uint16_t host, guest;
};

/* `*host` 0: the system chooses. 0, or a negative errno: EADDRINUSE, EADDRNOTAVAIL, EACCES, ... */
int ports_add(struct filter *filter, uint8_t protocol, const struct address *address, uint16_t *host, uint16_t guest);
int ports_remove(struct filter *filter, uint8_t protocol, const struct address *address, uint16_t host);

const struct port *ports_list(unsigned *count);

#endif
