/* The servers that are asked for names. */
#ifndef HUTCH_NET_DNS_SERVERS_H
#define HUTCH_NET_DNS_SERVERS_H

#include "address.h"

enum { DNS_SERVERS = 8 };

/* Asks these, not those of /etc/resolv.conf; count 0: those again. */
void dns_servers(const struct address *addresses, const uint16_t *ports, size_t count);

/* How many there are, as that file says now. */
size_t dns_server_count(void);

/* A socket (SOCK_DGRAM or SOCK_STREAM) that hears one of them alone; -1: it can't be reached. */
int dns_dial(int kind, size_t server);

#endif
