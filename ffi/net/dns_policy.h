/* What rules for names mean for questions and answers. */
#ifndef HUTCH_NET_DNS_POLICY_H
#define HUTCH_NET_DNS_POLICY_H

#include "dns_message.h"
#include "filter.h"

/* DNS_OK: the question is asked on; else the code that answers it. */
int dns_policy_question(struct filter *filter, const struct dns_question *question);

/* Tells that a plugin's hook denies a question; the code that answers it. */
int dns_policy_hook(struct filter *filter, const char *name, const char *hook, const char *plugin);

/* An answer (dns_is_answer) to a question that was asked on: remembers the addresses of names that
 * rules know, or of all if hooks are asked of connections. DNS_OK: the guest gets it; else the code that it gets instead. */
int dns_policy_answer(struct filter *filter, const struct dns_question *question, uint8_t *answer, size_t length);

#endif
