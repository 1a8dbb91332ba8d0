/* Echoes by IPv6, which the network stack doesn't send: a socket of this machine for each identifier. */
#ifndef HUTCH_NET_ECHOES_H
#define HUTCH_NET_ECHOES_H

#include "packet.h"

/* `answer` takes the frames of replies. */
void echoes_init(void (*answer)(uint8_t *frame, size_t length));

/* Sends an echo request of the guest's on, whose way is allowed. */
void echoes_send(const struct packet *packet);

/* Closes those that are silent. When to come again, in ms; -1: there are none. */
int echoes_step(void);

#endif
