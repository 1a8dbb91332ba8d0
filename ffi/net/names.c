#include "names.h"

#include <stdlib.h>
#include <string.h>

/* The guest uses what it was told up to its end, and connects a moment later. */
enum { GRACE_S = 10 };

bool name_fits(const char *pattern, const char *name) {
  if (strncmp(pattern, "*.", 2) != 0) return strcmp(pattern, name) == 0;
  size_t tail = strlen(pattern + 1), length = strlen(name);
  return length > tail && strcmp(name + length - tail, pattern + 1) == 0;
}

bool name_pattern(char *text) {
  size_t length = strlen(text), label = 0;
  if (length > 0 && text[length - 1] == '.') text[--length] = '\0';
  size_t at = strncmp(text, "*.", 2) == 0 ? 2 : 0;
  if (at == length || length >= NAME_TEXT) return false;
  for (; at < length; at++) {
    if (text[at] >= 'A' && text[at] <= 'Z') text[at] = (char)(text[at] + 32);
    bool dot = text[at] == '.';
    bool letter = (text[at] >= 'a' && text[at] <= 'z') || (text[at] >= '0' && text[at] <= '9') || text[at] == '-' || text[at] == '_';
    if (dot ? label == 0 : !letter || label == 63) return false;
    label = dot ? 0 : label + 1;
  }
  return true;
}

bool name_or_address(char *text) {
  char inner[ADDRESS_TEXT];
  struct address address;
  size_t length = strlen(text);
  if (text[0] != '[') return name_pattern(text);
  if (length < 2 || length - 2 >= sizeof inner || text[length - 1] != ']') return false;
  memcpy(inner, text + 1, length - 2);
  inner[length - 2] = '\0';
  for (size_t i = 0; i < length; i++) text[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
  return strchr(inner, ':') != NULL && address_parse(inner, &address);
}

static bool make_room(struct names *names) {
  if (names->list != NULL) return true;
  names->addresses = calloc(NAMES_MAX, sizeof *names->addresses);
  names->list = calloc(NAMES_MAX, sizeof *names->list);
  if (names->addresses != NULL && names->list != NULL) return true;
  names_free(names);
  return false;
}

/* Where it is already, or goes: behind the others, or over what has ended or ends soonest. */
static size_t place_of(const struct names *names, const char *name, const struct address *address) {
  size_t soonest = 0;
  for (size_t i = 0; i < names->count; i++) {
    if (address_equal(&names->addresses[i], address) && strcmp(names->list[i].text, name) == 0) return i;
    if (names->list[i].until_ms < names->list[soonest].until_ms) soonest = i;
  }
  return names->count < NAMES_MAX ? names->count : soonest;
}

void names_add(struct names *names, const char *name, const struct address *address, uint32_t ttl_s, uint64_t now_ms) {
  if (strlen(name) >= NAME_TEXT || !make_room(names)) return;
  uint64_t seconds = ttl_s < NAMES_LEAST_S ? NAMES_LEAST_S : ttl_s > NAMES_MOST_S ? NAMES_MOST_S : ttl_s;
  size_t at = place_of(names, name, address);
  if (at == names->count) names->count++;
  names->addresses[at] = *address;
  names->list[at].until_ms = now_ms + (seconds + GRACE_S) * 1000;
  strcpy(names->list[at].text, name);
}

void names_of(const struct names *names, const struct address *address, uint64_t now_ms, struct known_names *known) {
  known->count = 0;
  for (size_t i = 0; i < names->count && known->count < NAMES_OF_ADDRESS; i++) {
    if (!address_equal(&names->addresses[i], address) || names->list[i].until_ms < now_ms) continue;
    known->list[known->count++] = names->list[i].text;
  }
}

void names_free(struct names *names) {
  free(names->addresses);
  free(names->list);
  *names = (struct names){0};
}
