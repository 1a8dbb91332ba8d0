#define _GNU_SOURCE 1
#include "policy.h"

#include <stdlib.h>
#include <string.h>

static bool fits_any(const char *pattern, const struct known_names *names) {
  for (size_t i = 0; i < names->count; i++) {
    if (name_fits(pattern, names->list[i])) return true;
  }
  return false;
}

/* The first bytes should say a name, and don't: it may be any. */
static bool hides_name(const struct peer *peer) {
  return peer->said != NULL && peer->said[0] == '\0';
}

/* A name that is denied counts wherever it is said, or hidden; one that is allowed only at an address that
 * the box was told for it, and not at one that the mode keeps it from: whoever owns a name can say anything
 * of where it is. */
static bool fits_name(const struct policy *policy, const struct rule *rule, const struct peer *peer) {
  if (peer->said != NULL && !rule->allow) return hides_name(peer) || name_fits(rule->domain, peer->said);
  if (!fits_any(rule->domain, &peer->names)) return false;
  if (!rule->allow) return true;
  return policy_default(policy, peer->group) && (peer->said == NULL || name_fits(rule->domain, peer->said));
}

static bool fits_address(const struct rule *rule, const struct address *address, enum group group) {
  return rule->by_group ? rule->group == group : address_within(address, &rule->network, rule->bits);
}

static bool fits_kind(const struct rule *rule, const struct peer *peer) {
  if (rule->inbound != peer->inbound || (rule->protocol != 0 && rule->protocol != peer->protocol)) return false;
  return peer->protocol == IPPROTO_ICMP || (peer->port >= rule->first && peer->port <= rule->last);
}

bool policy_default(const struct policy *policy, enum group group) {
  if (group == GROUP_LOOPBACK || group == GROUP_INVALID) return false;
  return group == GROUP_PUBLIC || (policy->mode == POLICY_OPEN && group != GROUP_METADATA);
}

struct decision policy_decide(const struct policy *policy, const struct peer *peer) {
  bool by_name = false;
  /* What would lead the stack to this machine's own loopback under another name. */
  if (!peer->inbound && (peer->group == GROUP_LOOPBACK || peer->group == GROUP_INVALID)) return (struct decision){.rule = -1};
  for (size_t i = 0; i < policy->count; i++) {
    const struct rule *rule = &policy->rules[i];
    if (!fits_kind(rule, peer)) continue;
    bool fits = rule->domain == NULL ? fits_address(rule, &peer->address, peer->group) : fits_name(policy, rule, peer);
    bool hidden = rule->domain != NULL && hides_name(peer) && fits_any(rule->domain, &peer->names);
    if (rule->domain != NULL && (fits || !rule->allow || hidden)) by_name = true;
    if (fits) return (struct decision){.allow = rule->allow, .by_name = by_name, .rule = (int)i, .divert = rule->divert};
  }
  bool allow = peer->inbound || (policy_default(policy, peer->group) && !(by_name && hides_name(peer)));
  return (struct decision){.allow = allow, .by_name = by_name, .rule = -1};
}

/* ---- names ------------------------------------------------------------------------------------------ */

static bool is_whole(const struct rule *rule) {
  return rule->protocol == 0 && rule->first == 0 && rule->last == 65535;
}

static bool is_anything(const struct rule *rule) {
  return rule->domain == NULL && !rule->by_group && rule->bits == 0;
}

bool policy_may_ask(const struct policy *policy, const char *name, int *found) {
  for (size_t i = 0; i < policy->count; i++) {
    const struct rule *rule = &policy->rules[i];
    bool about = rule->domain == NULL ? is_anything(rule) || (rule->allow && rule->by_group) : name_fits(rule->domain, name);
    if (rule->inbound || !about || (!rule->allow && !is_whole(rule))) continue;
    *found = (int)i;
    return rule->allow;
  }
  return true;
}

bool policy_knows(const struct policy *policy, const char *name) {
  for (size_t i = 0; i < policy->count; i++) {
    if (policy->rules[i].domain != NULL && name_fits(policy->rules[i].domain, name)) return true;
  }
  return false;
}

bool policy_reaches(const struct policy *policy, const struct address *address, enum group group) {
  if (group == GROUP_LOOPBACK || group == GROUP_INVALID) return false;
  for (size_t i = 0; i < policy->count; i++) {
    const struct rule *rule = &policy->rules[i];
    if (rule->inbound || rule->domain != NULL || !fits_address(rule, address, group)) continue;
    if (rule->allow || is_whole(rule)) return rule->allow;
  }
  return policy_default(policy, group);
}

void policy_free(struct policy *policy) {
  for (size_t i = 0; i < policy->count; i++) free(policy->rules[i].domain);
  free(policy->rules);
  policy->rules = NULL;
  policy->count = 0;
}
