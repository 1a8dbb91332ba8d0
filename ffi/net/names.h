/* Which names this box was told which addresses for, and for how long that counts. */
#ifndef HUTCH_NET_NAMES_H
#define HUTCH_NET_NAMES_H

#include "address.h"

enum {
  NAMES_MAX = 4096,
  NAME_TEXT = 254,         /* longest name and its end */
  NAMES_OF_ADDRESS = 32,   /* more names of one address than these aren't known at a time */
  NAMES_LEAST_S = 60,      /* an answer counts at least so long, since a connection comes after it */
  NAMES_MOST_S = 3600,     /* the guest is told no longer time than this */
};

/* Made when the first name comes: most boxes never have one. */
struct names {
  struct address *addresses;
  struct name {
    uint64_t until_ms;
    char text[NAME_TEXT];
  } *list;
  size_t count;
};

/* The names of one address; valid until the next names_add. */
struct known_names {
  const char *list[NAMES_OF_ADDRESS];
  size_t count;
};

/* Whether a name is what a pattern means: itself, or `*.DOMAIN`: all below DOMAIN. Lower case. */
bool name_fits(const char *pattern, const char *name);

/* Whether a rule may have it for its target; makes it lower case, and takes a last dot away. */
bool name_pattern(char *text);

/* The same for what a Host says, which may be an address of IPv6 in brackets too. */
bool name_or_address(char *text);

/* Remembers an answer. What ends soonest makes room. */
void names_add(struct names *names, const char *name, const struct address *address, uint32_t ttl_s, uint64_t now_ms);

void names_of(const struct names *names, const struct address *address, uint64_t now_ms, struct known_names *known);
void names_free(struct names *names);

#endif
