#define _GNU_SOURCE 1
#include "dns_policy.h"

#include "loop.h"

enum { ADDRESSES_MAX = 64 };

static int refuse(struct filter *filter, const struct address *address, enum group group, int rule, const char *name) {
  struct flow_key key = {.remote = *address, .remote_port = DNS_PORT};
  filter_denied(filter, &(struct denial){.key = &key, .group = group, .rule = rule, .name = name});
  return DNS_REFUSED;
}

int dns_policy_hook(struct filter *filter, const char *name, const char *hook, const char *plugin) {
  struct flow_key key = {.remote = filter->dns[0], .remote_port = DNS_PORT};
  filter_denied(filter, &(struct denial){.key = &key, .group = GROUP_HOST, .rule = -1, .name = name, .hook = hook, .plugin = plugin});
  return DNS_REFUSED;
}

int dns_policy_question(struct filter *filter, const struct dns_question *question) {
  int rule = -1;
  if (!policy_may_ask(&filter->policy, question->name, &rule)) {
    return refuse(filter, &filter->dns[0], GROUP_HOST, rule, question->name);
  }
  /* They have addresses of their own, and keys by which a connection hides the name that it is for. */
  bool hints = question->type == DNS_TYPE_HTTPS || question->type == DNS_TYPE_SVCB;
  return hints && (filter->gate_all || policy_knows(&filter->policy, question->name)) ? DNS_NOTHING : DNS_OK;
}

int dns_policy_answer(struct filter *filter, const struct dns_question *question, uint8_t *answer, size_t length) {
  struct dns_address list[ADDRESSES_MAX];
  bool known = policy_knows(&filter->policy, question->name);
  if (!known && !filter->ask) return DNS_OK; /* nobody wants to know its addresses */
  int count = dns_read_addresses(answer, length, NAMES_MOST_S, list, ADDRESSES_MAX);
  if (count < 0) return known ? DNS_SERVER_FAILURE : DNS_OK;
  uint64_t now = now_ms();
  /* Whoever owns a name can say that it is this machine, or a neighbour: not one address of such an
   * answer counts. */
  for (int i = 0; known && i < count; i++) {
    enum group group = filter_group(filter, &list[i].address, now);
    if (policy_reaches(&filter->policy, &list[i].address, group) || policy_default(&filter->policy, group)) continue;
    int rule = -1;
    policy_may_ask(&filter->policy, question->name, &rule);
    return refuse(filter, &list[i].address, group, rule, question->name);
  }
  for (int i = 0; i < count; i++) names_add(&filter->names, question->name, &list[i].address, list[i].ttl_s, now);
  return DNS_OK;
}
