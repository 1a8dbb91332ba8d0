/* The addresses of this machine, which the filter keeps guests from. The machine is made up here. */
#define _GNU_SOURCE 1
#include "net/address.h"

#include <assert.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { V4_COUNT = 300 };

static bool fails;
static unsigned reads;
static const char *last; /* one more address, behind all others; may be NULL */

static struct address address(const char *text) {
  struct address result;
  assert(address_parse(text, &result));
  return result;
}

/* One block holds the entry and its address. */
static void add(struct ifaddrs **list, const struct address *of) {
  struct { struct ifaddrs entry; struct sockaddr_storage socket; } *made = calloc(1, sizeof *made);
  assert(made != NULL);
  if (of != NULL) {
    address_socket(of, 0, &made->socket);
    made->entry.ifa_addr = (struct sockaddr *)&made->socket;
  }
  while (*list != NULL) list = &(*list)->ifa_next;
  *list = &made->entry;
}

/* As the C library gives them: all of IPv4 first, and interfaces without an address in between. */
int getifaddrs(struct ifaddrs **list) {
  reads++;
  *list = NULL;
  if (fails) {
    errno = EMFILE;
    return -1;
  }
  add(list, NULL);
  for (unsigned i = 0; i < V4_COUNT; i++) {
    struct address v4 = address_v4((uint8_t[]){9, 1, (uint8_t)(i / 256), (uint8_t)i});
    add(list, &v4);
  }
  struct address v6 = address("2606:4700::77"), more;
  add(list, &v6);
  if (last == NULL) return 0;
  more = address(last);
  add(list, &more);
  return 0;
}

void freeifaddrs(struct ifaddrs *list) {
  for (struct ifaddrs *next; list != NULL; list = next) {
    next = list->ifa_next;
    free(list);
  }
}

static bool is_own(const char *text, uint64_t when) {
  struct address about = address(text);
  return address_is_own(&about, when);
}

int main(void) {
  /* As long as nothing is known, each could be one. */
  fails = true;
  assert(is_own("8.8.8.8", 1000) && address_read_own(1000) == -EMFILE);
  fails = false;
  for (unsigned i = 0; i < V4_COUNT; i++) {
    char text[ADDRESS_TEXT];
    snprintf(text, sizeof text, "9.1.%u.%u", i / 256, i % 256);
    assert(is_own(text, 1000));
  }
  assert(is_own("2606:4700::77", 1000));
  assert(!is_own("9.1.1.44", 1000) && !is_own("8.8.8.8", 1000) && !is_own("2606:4700::78", 1000));
  assert(reads == 3);
  /* Others come and go: that is seen some seconds later, or when it can be seen again. */
  last = "8.8.8.8";
  assert(!is_own("8.8.8.8", 6000) && reads == 3);
  fails = true;
  assert(!is_own("8.8.8.8", 6001) && is_own("2606:4700::77", 6001) && reads == 5);
  fails = false;
  assert(is_own("8.8.8.8", 6002) && reads == 6);
  last = NULL;
  assert(is_own("8.8.8.8", 11002) && !is_own("8.8.8.8", 11003) && reads == 7);
  puts("ok");
  return 0;
}
