#define _GNU_SOURCE 1
#include "policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool fits(const struct rule *rule, uint8_t protocol, const struct address *remote, uint16_t port, enum group group) {
  if (rule->protocol != 0 && rule->protocol != protocol) return false;
  if (protocol != IPPROTO_ICMP && (port < rule->first || port > rule->last)) return false;
  if (rule->by_group) return rule->group == group;
  return address_within(remote, &rule->network, rule->bits);
}

struct decision policy_decide(const struct policy *policy, uint8_t protocol, const struct address *remote,
                              uint16_t port, enum group group) {
  /* What would lead the stack to this machine's own loopback under another name. */
  if (group == GROUP_LOOPBACK || group == GROUP_INVALID) return (struct decision){.rule = -1};
  for (size_t i = 0; i < policy->count; i++) {
    const struct rule *rule = &policy->rules[i];
    if (!fits(rule, protocol, remote, port, group)) continue;
    return (struct decision){.allow = rule->allow, .rule = (int)i, .divert = rule->divert};
  }
  bool open = policy->mode == POLICY_OPEN && group != GROUP_METADATA;
  return (struct decision){.allow = open || group == GROUP_PUBLIC, .rule = -1};
}

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

static bool read_target(char *word, struct rule *rule) {
  if (strcmp(word, "any") == 0) return true;
  for (int group = 0; group < GROUP_COUNT; group++) {
    if (strcmp(word, GROUP_NAMES[group]) != 0) continue;
    rule->by_group = true;
    rule->group = (enum group)group;
    return true;
  }
  char *slash = strchr(word, '/');
  if (slash != NULL) *slash = '\0';
  if (!address_parse(word, &rule->network)) return false;
  unsigned before = address_is_v4(&rule->network) ? 96 : 0, bits = 128 - before;
  if (slash != NULL && !number(slash + 1, 128 - before, &bits)) return false;
  rule->bits = before + bits;
  return true;
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
  char *words[7], *rest = NULL;
  size_t count = 0;
  for (char *word = strtok_r(text, " ", &rest); word != NULL && count < 7; word = strtok_r(NULL, " ", &rest)) words[count++] = word;
  *rule = (struct rule){0};
  if (count != 4 && count != 6) return false;
  rule->allow = strcmp(words[0], "allow") == 0;
  if (!rule->allow && strcmp(words[0], "deny") != 0) return false;
  if (!read_protocol(words[1], &rule->protocol) || !read_target(words[2], rule) || !read_ports(words[3], rule)) return false;
  if (count == 4) return true;
  unsigned port;
  if (strcmp(words[4], "divert") != 0 || !number(words[5], 65535, &port) || port == 0) return false;
  rule->divert = (uint16_t)port;
  return rule->allow && rule->protocol == IPPROTO_TCP;
}

bool policy_read(struct policy *policy, char *text, char why[128]) {
  struct rule *rules = calloc(POLICY_MAX_RULES, sizeof *rules);
  size_t count = 0;
  char *rest = NULL;
  snprintf(why, 128, "there is no memory for rules");
  if (rules == NULL) return false;
  for (char *one = strtok_r(text, ";", &rest); one != NULL; one = strtok_r(NULL, ";", &rest)) {
    if (one[strspn(one, " ")] == '\0') continue;
    snprintf(why, 128, "rule %zu isn't one", count);
    if (count == POLICY_MAX_RULES || !read_rule(one, &rules[count])) {
      free(rules);
      return false;
    }
    count++;
  }
  free(policy->rules);
  policy->rules = rules;
  policy->count = count;
  return true;
}

void policy_free(struct policy *policy) {
  free(policy->rules);
  policy->rules = NULL;
  policy->count = 0;
}
