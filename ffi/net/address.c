#define _GNU_SOURCE 1
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_FRESH_MS = 5000 };

const char *const GROUP_NAMES[GROUP_COUNT] = {
  "public", "private", "loopback", "link-local", "metadata", "host", "invalid",
};

static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct address address_v4(const uint8_t bytes[4]) {
  struct address address;
  memcpy(address.bytes, MAPPED, 12);
  memcpy(address.bytes + 12, bytes, 4);
  return address;
}

struct address address_v6(const uint8_t bytes[16]) {
  struct address address;
  memcpy(address.bytes, bytes, 16);
  return address;
}

bool address_is_v4(const struct address *address) {
  return memcmp(address->bytes, MAPPED, 12) == 0;
}

bool address_equal(const struct address *a, const struct address *b) {
  return memcmp(a->bytes, b->bytes, 16) == 0;
}

bool address_within(const struct address *address, const struct address *network, unsigned bits) {
  if (bits > 128) return false;
  if (memcmp(address->bytes, network->bytes, bits / 8) != 0) return false;
  if (bits % 8 == 0) return true;
  uint8_t mask = (uint8_t)(0xff << (8 - bits % 8));
  return ((address->bytes[bits / 8] ^ network->bytes[bits / 8]) & mask) == 0;
}

bool address_parse(const char *text, struct address *address) {
  uint8_t v4[4];
  if (inet_pton(AF_INET, text, v4) == 1) {
    *address = address_v4(v4);
    return true;
  }
  return inet_pton(AF_INET6, text, address->bytes) == 1;
}

void address_format(const struct address *address, char text[ADDRESS_TEXT]) {
  if (address_is_v4(address)) inet_ntop(AF_INET, address->bytes + 12, text, ADDRESS_TEXT);
  else inet_ntop(AF_INET6, address->bytes, text, ADDRESS_TEXT);
}

socklen_t address_socket(const struct address *address, uint16_t port, struct sockaddr_storage *storage) {
  *storage = (struct sockaddr_storage){0};
  if (address_is_v4(address)) {
    struct sockaddr_in *in = (struct sockaddr_in *)storage;
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    memcpy(&in->sin_addr, address->bytes + 12, 4);
    return sizeof *in;
  }
  struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)storage;
  in6->sin6_family = AF_INET6;
  in6->sin6_port = htons(port);
  memcpy(&in6->sin6_addr, address->bytes, 16);
  return sizeof *in6;
}

bool address_of_socket(const struct sockaddr *socket, struct address *address, uint16_t *port) {
  if (socket->sa_family == AF_INET) {
    const struct sockaddr_in *in = (const struct sockaddr_in *)socket;
    *address = address_v4((const uint8_t *)&in->sin_addr);
    *port = ntohs(in->sin_port);
    return true;
  }
  if (socket->sa_family != AF_INET6) return false;
  const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)socket;
  *address = address_v6(in6->sin6_addr.s6_addr);
  *port = ntohs(in6->sin6_port);
  return true;
}

struct range {
  const char *text;
  unsigned bits; /* of the address's own kind */
  enum group group;
};

/* The first that fits counts; what fits none of IPv4's is public, of IPv6's private. The clouds' own
 * services, by what their handbooks say. */
static const struct range V4[] = {
  {"169.254.169.254", 32, GROUP_METADATA}, {"169.254.170.2", 32, GROUP_METADATA},
  {"100.100.100.200", 32, GROUP_METADATA}, {"168.63.129.16", 32, GROUP_METADATA},
  {"192.0.0.192", 32, GROUP_METADATA},
  {"0.0.0.0", 8, GROUP_INVALID}, /* the host's kernel takes it for itself */
  {"127.0.0.0", 8, GROUP_LOOPBACK}, {"169.254.0.0", 16, GROUP_LINK_LOCAL},
  {"10.0.0.0", 8, GROUP_PRIVATE}, {"172.16.0.0", 12, GROUP_PRIVATE},
  {"192.168.0.0", 16, GROUP_PRIVATE}, {"100.64.0.0", 10, GROUP_PRIVATE},
  {"192.0.0.0", 24, GROUP_PRIVATE}, {"192.0.2.0", 24, GROUP_PRIVATE},
  {"198.18.0.0", 15, GROUP_PRIVATE}, {"198.51.100.0", 24, GROUP_PRIVATE},
  {"203.0.113.0", 24, GROUP_PRIVATE}, {"224.0.0.0", 3, GROUP_INVALID},
};

static const struct range V6[] = {
  {"fd00:ec2::254", 128, GROUP_METADATA}, {"fd20:ce::254", 128, GROUP_METADATA},
  {"::1", 128, GROUP_LOOPBACK}, {"::", 96, GROUP_INVALID}, {"::ffff:0:0:0", 96, GROUP_INVALID},
  {"fe80::", 10, GROUP_LINK_LOCAL}, {"ff00::", 8, GROUP_INVALID},
  {"2001:db8::", 32, GROUP_PRIVATE}, {"2001::", 32, GROUP_PRIVATE}, /* Teredo hides an IPv4 address */
  {"2000::", 3, GROUP_PUBLIC},
};

static enum group look_up(const struct address *address, const struct range *ranges, size_t count, unsigned shift) {
  for (size_t i = 0; i < count; i++) {
    struct address network;
    if (address_parse(ranges[i].text, &network) && address_within(address, &network, ranges[i].bits + shift)) {
      return ranges[i].group;
    }
  }
  return shift == 96 ? GROUP_PUBLIC : GROUP_PRIVATE;
}

enum group address_group(const struct address *address) {
  static const uint8_t NAT64[12] = {0, 0x64, 0xff, 0x9b};
  if (address_is_v4(address)) return look_up(address, V4, sizeof V4 / sizeof *V4, 96);
  /* Both lead to the IPv4 address within. */
  if (memcmp(address->bytes, NAT64, 12) == 0) {
    struct address inner = address_v4(address->bytes + 12);
    return address_group(&inner);
  }
  if (address->bytes[0] == 0x20 && address->bytes[1] == 0x02) {
    struct address inner = address_v4(address->bytes + 2);
    return address_group(&inner);
  }
  return look_up(address, V6, sizeof V6 / sizeof *V6, 0);
}

/* Those of this machine's interfaces, by their bytes; NULL: they were never read. */
static struct address *own;
static size_t own_count;
static uint64_t own_read_ms;

static int by_bytes(const void *a, const void *b) {
  return memcmp(a, b, sizeof(struct address));
}

int address_read_own(uint64_t now_ms) {
  struct ifaddrs *list = NULL;
  if (getifaddrs(&list) < 0) return -errno;
  size_t most = 0, count = 0;
  for (struct ifaddrs *at = list; at != NULL; at = at->ifa_next) most++;
  struct address *found = malloc((most + 1) * sizeof *found);
  for (struct ifaddrs *at = list; found != NULL && at != NULL; at = at->ifa_next) {
    uint16_t port;
    if (at->ifa_addr != NULL && address_of_socket(at->ifa_addr, &found[count], &port)) count++;
  }
  freeifaddrs(list);
  if (found == NULL) return -ENOMEM;
  qsort(found, count, sizeof *found, by_bytes);
  free(own);
  own = found;
  own_count = count;
  own_read_ms = now_ms;
  return 0;
}

bool address_is_own(const struct address *address, uint64_t now_ms) {
  /* Where it fails (for want of a descriptor, say, which a connection needs as well), the next one tries again. */
  if (own == NULL || now_ms - own_read_ms > OWN_FRESH_MS) address_read_own(now_ms);
  return own == NULL || bsearch(address, own, own_count, sizeof *own, by_bytes) != NULL;
}
