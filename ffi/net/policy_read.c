/* Rules from their text. */
#define _GNU_SOURCE 1
#include "policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 7 };

static bool number(const char *text, unsigned most, unsigned *value) {
  size_t digits = strspn(text, "0123456789");
  if (digits == 0 || digits > 5 || text[digits] != '\0') return false;
  *value = (unsigned)atoi(text);
  return *value <= most;
}

static bool read_protocol(const char *word, uint8_t *protocol) {
  static const struct { const char *name; uint8_t number; } NAMES[] = {
    {"any", 0}, {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"icmp", IPPROTO_ICMP},
  };
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    if (strcmp(word, NAMES[i].name) != 0) continue;
    *protocol = NAMES[i].number;
    return true;
  }
  return false;
}

static bool read_network(char *word, struct rule *rule) {
  char *slash = strchr(word, '/');
  if (slash != NULL) *slash = '\0';
  if (!address_parse(word, &rule->network)) return false;
  unsigned before = address_is_v4(&rule->network) ? 96 : 0, bits = 128 - before;
  if (slash != NULL && !number(slash + 1, 128 - before, &bits)) return false;
  rule->bits = before + bits;
  return true;
}

/* What is nearly an address isn't a name: none ends in a number. */
static bool read_name(char *word, struct rule *rule) {
  if (!name_pattern(word)) return false;
  const char *last = strrchr(word, '.');
  last = last == NULL ? word : last + 1;
  if (last[strspn(last, "0123456789")] == '\0') return false;
  rule->domain = strdup(word);
  return rule->domain != NULL;
}

static bool read_target(char *word, struct rule *rule) {
  if (strcmp(word, "any") == 0) return true;
  for (int group = 0; group < GROUP_COUNT; group++) {
    if (strcmp(word, GROUP_NAMES[group]) != 0) continue;
    rule->by_group = true;
    rule->group = (enum group)group;
    return true;
  }
  if (strchr(word, '/') != NULL || strchr(word, ':') != NULL || address_parse(word, &rule->network)) return read_network(word, rule);
  return !rule->inbound && read_name(word, rule);
}

static bool read_ports(char *word, struct rule *rule) {
  unsigned first = 0, last = 65535;
  rule->first = 0;
  rule->last = 65535;
  if (strcmp(word, "any") == 0) return true;
  char *dash = strchr(word, '-');
  if (dash != NULL) *dash = '\0';
  if (!number(word, 65535, &first)) return false;
  last = first;
  if (dash != NULL && !number(dash + 1, 65535, &last)) return false;
  rule->first = (uint16_t)first;
  rule->last = (uint16_t)last;
  return first <= last;
}

static bool read_rule(char *text, struct rule *rule) {
  char *words[WORDS_MAX + 1], *rest = NULL, **at = words + 1;
  size_t count = 0;
  for (char *word = strtok_r(text, " ", &rest); word != NULL && count <= WORDS_MAX; word = strtok_r(NULL, " ", &rest)) words[count++] = word;
  *rule = (struct rule){0};
  if (count < 4 || count > WORDS_MAX) return false;
  rule->allow = strcmp(words[0], "allow") == 0;
  if (!rule->allow && strcmp(words[0], "deny") != 0) return false;
  rule->inbound = strcmp(*at, "in") == 0;
  if (rule->inbound || strcmp(*at, "out") == 0) at++;
  size_t left = (size_t)(words + count - at);
  if (left != 3 && left != 5) return false;
  if (!read_protocol(at[0], &rule->protocol) || !read_target(at[1], rule) || !read_ports(at[2], rule)) return false;
  if (left == 3) return true;
  unsigned port;
  if (strcmp(at[3], "divert") != 0 || !number(at[4], 65535, &port) || port == 0) return false;
  rule->divert = (uint16_t)port;
  return rule->allow && !rule->inbound && rule->protocol == IPPROTO_TCP;
}

bool policy_read(struct policy *policy, char *text, char why[128]) {
  struct policy made = {.mode = policy->mode, .rules = calloc(POLICY_MAX_RULES, sizeof *made.rules)};
  char *rest = NULL;
  snprintf(why, 128, "there is no memory for rules");
  if (made.rules == NULL) return false;
  for (char *one = strtok_r(text, ";", &rest); one != NULL; one = strtok_r(NULL, ";", &rest)) {
    if (one[strspn(one, " ")] == '\0') continue;
    snprintf(why, 128, "rule %zu isn't one", made.count);
    bool room = made.count < POLICY_MAX_RULES;
    if (!room || !read_rule(one, &made.rules[made.count++])) {
      policy_free(&made);
      return false;
    }
  }
  policy_free(policy);
  *policy = made;
  return true;
}
