/* Which host a connection's first bytes are for, as far as its protocol says so: TLS by its server name,
 * HTTP/1 by its Host. */
#ifndef HUTCH_NET_GREETING_H
#define HUTCH_NET_GREETING_H

#include "names.h"

enum { GREETING_MAX = 32 * 1024, TLS_HANDSHAKE = 22 };

enum greeting {
  GREETING_MORE,  /* can't be told yet */
  GREETING_NAME,
  GREETING_OTHER, /* a protocol that says no name */
  GREETING_BAD,   /* one that should say a name, or that some take for such, and says none, two, or hides it */
};

/* How long the head of an HTTP/1 request is, with the empty line at its end; 0: it isn't whole. */
size_t greeting_head(const uint8_t *bytes, size_t length);

/* Whether they are TLS, or what came before it. */
bool greeting_is_tls(const uint8_t *bytes, size_t length);

enum greeting greeting_read(const uint8_t *bytes, size_t length, char name[NAME_TEXT]);

/* What they are if they stay GREETING_MORE, since nothing comes after them. */
enum greeting greeting_at_end(const uint8_t *bytes, size_t length);

#endif
