#define _GNU_SOURCE 1
#include "network.h"

#include "request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/ether.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DEVICE "eth0"
#define DEVICE_WAIT_MS 2000

struct message {
  struct nlmsghdr head;
  uint8_t rest[256];
};

static void attribute(struct message *message, uint16_t type, const void *value, size_t size) {
  struct rtattr *at = (struct rtattr *)((uint8_t *)message + NLMSG_ALIGN(message->head.nlmsg_len));
  at->rta_type = type;
  at->rta_len = (uint16_t)RTA_LENGTH(size);
  memcpy(RTA_DATA(at), value, size);
  message->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(message->head.nlmsg_len) + RTA_ALIGN(at->rta_len));
}

static struct message begin(uint16_t type, uint16_t flags, const void *body, size_t size) {
  struct message message = {.head = {.nlmsg_len = (uint32_t)NLMSG_LENGTH(size), .nlmsg_type = type,
                                     .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags)}};
  memcpy(NLMSG_DATA(&message.head), body, size);
  return message;
}

/* Waits for the kernel's answer. 0, or a negative errno. */
static int ask(int fd, const struct message *message) {
  struct {
    struct nlmsghdr head;
    struct nlmsgerr error;
    uint8_t rest[512];
  } answer;
  if (send(fd, message, message->head.nlmsg_len, 0) < 0) return -errno;
  if (recv(fd, &answer, sizeof answer, 0) < (ssize_t)NLMSG_LENGTH(sizeof answer.error)) return -EPROTO;
  return answer.head.nlmsg_type == NLMSG_ERROR ? answer.error.error : -EPROTO;
}

static int family_of(const char *text, uint8_t bytes[16]) {
  if (inet_pton(AF_INET, text, bytes) == 1) return AF_INET;
  return inet_pton(AF_INET6, text, bytes) == 1 ? AF_INET6 : AF_UNSPEC;
}

static int bring_up(int fd, int index, uint32_t mtu) {
  struct ifinfomsg info = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
  struct message message = begin(RTM_NEWLINK, 0, &info, sizeof info);
  attribute(&message, IFLA_MTU, &mtu, sizeof mtu);
  return ask(fd, &message);
}

/* `text` is ADDRESS/BITS. Without the usual wait whether a neighbour has it: there are none. */
static int change_address(int fd, int index, const char *text, bool add) {
  char copy[64];
  uint8_t bytes[16];
  uint32_t flags = IFA_F_NODAD;
  const char *slash = strchr(text, '/');
  if (slash == NULL || (size_t)(slash - text) >= sizeof copy) return -EINVAL;
  memcpy(copy, text, (size_t)(slash - text));
  copy[slash - text] = '\0';
  int family = family_of(copy, bytes), bits = atoi(slash + 1);
  if (family == AF_UNSPEC || bits < 1 || bits > (family == AF_INET ? 32 : 128)) return -EINVAL;
  struct ifaddrmsg info = {.ifa_family = (uint8_t)family, .ifa_prefixlen = (uint8_t)bits, .ifa_index = (uint32_t)index};
  struct message message = begin(add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_EXCL : 0, &info, sizeof info);
  size_t size = family == AF_INET ? 4 : 16;
  attribute(&message, IFA_LOCAL, bytes, size);
  attribute(&message, IFA_ADDRESS, bytes, size);
  attribute(&message, IFA_FLAGS, &flags, sizeof flags);
  return ask(fd, &message);
}

static int add_gateway(int fd, int index, const char *text) {
  uint8_t bytes[16];
  int family = family_of(text, bytes);
  if (family == AF_UNSPEC) return -EINVAL;
  struct rtmsg info = {.rtm_family = (uint8_t)family, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT,
                       .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST};
  struct message message = begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
  attribute(&message, RTA_GATEWAY, bytes, family == AF_INET ? 4 : 16);
  attribute(&message, RTA_OIF, &index, sizeof index);
  return ask(fd, &message);
}

static int find_device(void) {
  unsigned index;
  for (int ms = 0; (index = if_nametoindex(DEVICE)) == 0 && ms < DEVICE_WAIT_MS; ms++) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
  return (int)index;
}

static int failed(struct failure *failure, const char *what, int error) {
  failure_set(failure, FAILURE_FAILED, -error, "set up the box's network: %s: %s", what, strerror(-error));
  return -1;
}

int network_configure(const struct request *request, struct failure *failure) {
  if (request->addresses == NULL || request->addresses[0] == NULL) return 0;
  int index = find_device(), error;
  if (index == 0) return failed(failure, "there is no " DEVICE, -ENODEV);
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return failed(failure, "netlink", -errno);
  const char *what = DEVICE;
  error = bring_up(fd, index, request->mtu);
  for (char **at = request->addresses; error == 0 && *at != NULL; at++) error = change_address(fd, index, what = *at, true);
  for (char **at = request->gateways; error == 0 && at != NULL && *at != NULL; at++) error = add_gateway(fd, index, what = *at);
  close(fd);
  return error == 0 ? 0 : failed(failure, what, error);
}

/* The address that IPv6 makes of a hardware address by itself. */
static void link_local(const uint8_t mac[6], char text[64]) {
  snprintf(text, 64, "fe80::%02x%02x:%02xff:fe%02x:%02x%02x/64", mac[0] ^ 2, mac[1], mac[2], mac[3], mac[4], mac[5]);
}

/* The hardware address whose link-local one is to come in the others' place, once `unsettled`. */
static struct ether_addr present;
static bool unsettled;

/* Devices appear while the first process runs already. */
static int hardware_address(int fd, struct ifreq *request) {
  for (int ms = 0; ioctl(fd, SIOCGIFHWADDR, request) < 0; ms++) {
    if (errno != ENODEV || ms == DEVICE_WAIT_MS) return -errno;
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
  return 0;
}

int network_rename(const char *mac, bool has_addresses) {
  struct ifreq request = {.ifr_name = DEVICE};
  if (ether_aton_r(mac, &present) == NULL) return -EINVAL;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int error = hardware_address(fd, &request);
  if (error == 0) {
    unsettled = has_addresses && memcmp(request.ifr_hwaddr.sa_data, &present, sizeof present) != 0;
    memcpy(request.ifr_hwaddr.sa_data, &present, sizeof present);
    if (ioctl(fd, SIOCSIFHWADDR, &request) < 0) error = -errno;
  }
  close(fd);
  return error;
}

/* Removes what IPv6 has made of hardware addresses: of the former one, and of one before that if this box's
 * memory was kept, too, before it had settled. */
static void remove_link_locals(int fd, int index) {
  FILE *list = fopen("/proc/net/if_inet6", "re");
  char digits[33], device[IFNAMSIZ], text[64];
  while (list != NULL && fscanf(list, "%32s %*x %*x %*x %*x %15s", digits, device) == 2) {
    if (strcmp(device, DEVICE) != 0 || strlen(digits) != 32) continue;
    if (memcmp(digits, "fe80", 4) != 0 || memcmp(digits + 22, "fffe", 4) != 0) continue; /* somebody's own */
    size_t length = 0;
    for (int i = 0; i < 32; i += 4) length += (size_t)snprintf(text + length, 6, "%.4s:", digits + i);
    strcpy(text + length - 1, "/64");
    change_address(fd, index, text, false);
  }
  if (list != NULL) fclose(list);
}

int network_settle(void) {
  if (!unsettled) return 0;
  char text[64];
  int index = find_device(), fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  int error = index == 0 || fd < 0 ? -errno : 0;
  if (error == 0) {
    remove_link_locals(fd, index);
    link_local(present.ether_addr_octet, text);
    error = change_address(fd, index, text, true);
    if (error == -EEXIST || error == -EACCES || error == -EOPNOTSUPP) error = 0; /* or IPv6 at all */
  }
  if (fd >= 0) close(fd);
  return error;
}
