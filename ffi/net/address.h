/* IP addresses, and what kind of place each is. IPv4 is kept in its mapped form, ::ffff:a.b.c.d. */
#ifndef HUTCH_NET_ADDRESS_H
#define HUTCH_NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDRESS_TEXT 46

struct address {
  uint8_t bytes[16];
};

/* Where an address leads to, as rules name it. */
enum group {
  GROUP_PUBLIC,
  GROUP_PRIVATE,    /* of this organisation, or of no known use */
  GROUP_LOOPBACK,   /* never leaves a machine: not reachable from a box at all */
  GROUP_LINK_LOCAL,
  GROUP_METADATA,   /* a cloud's answers about this very machine */
  GROUP_HOST,       /* this machine */
  GROUP_INVALID,    /* nothing to send to: multicast, broadcast, unspecified */
  GROUP_COUNT,
};

extern const char *const GROUP_NAMES[GROUP_COUNT];

struct address address_v4(const uint8_t bytes[4]);
struct address address_v6(const uint8_t bytes[16]);
bool address_is_v4(const struct address *address);
bool address_equal(const struct address *a, const struct address *b);

/* Whether the first `bits` (of 128) are the same. */
bool address_within(const struct address *address, const struct address *network, unsigned bits);

/* Reads either kind, without a port or a scope. */
bool address_parse(const char *text, struct address *address);
void address_format(const struct address *address, char text[ADDRESS_TEXT]);

/* For the system's calls; `storage` is large enough for both kinds. */
socklen_t address_socket(const struct address *address, uint16_t port, struct sockaddr_storage *storage);
bool address_of_socket(const struct sockaddr *socket, struct address *address, uint16_t *port);

/* What kind of place it is by its number alone: never GROUP_HOST. */
enum group address_group(const struct address *address);

/* Reads the addresses of this machine's interfaces, all of them. 0, or a negative errno: what was read before
 * stays. */
int address_read_own(uint64_t now_ms);

/* Whether an interface of this machine has it; of any, as long as those couldn't be read. Looks again after
 * some seconds. */
bool address_is_own(const struct address *address, uint64_t now_ms);

#endif
