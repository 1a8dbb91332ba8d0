/* The requests of an HTTP/1 connection, one after the other: each is for a host of its own. What can't be
 * told apart without a doubt doesn't go on. */
#ifndef HUTCH_NET_REQUESTS_H
#define HUTCH_NET_REQUESTS_H

#include "answer.h"
#include "side.h"

enum request_verdict {
  REQUESTS_FINE,
  REQUESTS_BAD,     /* it isn't a request, or two may read it differently */
  REQUESTS_REFUSED, /* it is for a host that it may not be for */
};

struct requests {
  enum {
    REQUEST_HEAD, REQUEST_BODY, REQUEST_CHUNK_SIZE, REQUEST_CHUNK, REQUEST_CHUNK_END, REQUEST_TRAILERS,
    REQUEST_ANSWER, /* it wants another protocol: the server's answer says whether that comes */
    REQUEST_RAW,    /* it has come: nothing more is looked at */
  } state;
  bool later;       /* it isn't the first */
  bool tunnels;     /* for REQUEST_ANSWER: what may come is a tunnel, */
  bool sockets;     /* or a WebSocket */
  struct answer answer; /* as far as it has come */
  uint64_t left;
  uint8_t *held;    /* what isn't whole yet */
  size_t length;
  /* Whether a request may be for a host. */
  bool (*may)(void *context, const char *name);
  void *context;
};

/* What the guest says: what may go on is kept for `to`. */
enum request_verdict requests_take(struct requests *requests, const uint8_t *bytes, size_t length, struct side *to);

/* What the server says in REQUEST_ANSWER, where its answer is waited for. */
enum request_verdict requests_answered(struct requests *requests, const uint8_t *bytes, size_t length, struct side *to);

void requests_free(struct requests *requests);

#endif
