/* The relay's state, which its thread alone changes, but for what is marked. */
#ifndef HUTCH_RELAY_CORE_H
#define HUTCH_RELAY_CORE_H

#include "relay.h"
#include "streams.h"
#include "transfer.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

/* Clients at once, beside the box process's own. */
enum { MOST_CLIENTS = 1024 };
/* What waits for an answerer before clients that feed it aren't read any more. */
enum { MOST_FOR_ANSWERER = 64 * 1024 };
/* What waits for a client before it isn't read any more. */
enum { MOST_FOR_READING = 4 * 1024 * 1024 };

struct hutch_relay {
  int listener, channel;
  int wake[2]; /* a byte in it: look at `parting` and `closing` */
  unsigned came; /* connections on the channel */
  struct answerer guest, holder;
  struct transfer transfer;
  struct spares spares;
  bool stream_ended; /* since `spares` were freed */
  struct stream_table table;
  struct client *clients[MOST_CLIENTS + 1];
  unsigned count;     /* of `clients` */
  unsigned turn;      /* whose turn it is to be read first */
  unsigned own_count; /* of `clients` that are the box process's own */
  uint64_t accept_from; /* ns: no client is taken before that */
  uint8_t *hello, *goodbye; /* whole frames, once they came */
  size_t hello_size, goodbye_size;
  bool held_used; /* clients have opened streams that the holder answers */
  bool over;
  struct pollfd polled[MOST_CLIENTS + 6];
  pthread_t thread;

  /* Any thread: */
  _Atomic uint64_t figures[HUTCH_RELAY_FIGURES];
  atomic_bool parting, closing;
  pthread_mutex_t mutex; /* of the rest */
  pthread_cond_t changed;
  unsigned draining;     /* calls of hutch_relay_drain() under way */
  enum hutch_relay_why why; /* 0: it goes on */
  char problem[PROBLEM_SIZE];
};

uint64_t relay_now(void);

/* client.c */
/* Takes a connection as a client; it is closed if there are too many, or no memory. */
void client_take(struct hutch_relay *relay, int fd, bool own);
/* Sends it bytes that are whole frames. */
void client_send(struct hutch_relay *relay, struct client *client, const void *bytes, size_t length);
/* Reads once, and passes on the frames that came. */
void client_read(struct hutch_relay *relay, struct client *client);
void client_flush(struct hutch_relay *relay, struct client *client);
/* It went, or must go: its streams end, nobody else's. */
void client_drop(struct hutch_relay *relay, struct client *client);
/* Frees those that went. */
void clients_sweep(struct hutch_relay *relay);

/* answerer.c */
/* Sends it a frame or several. */
void answerer_send(struct answerer *answerer, const void *bytes, size_t length);
/* Reads once, and hands out the frames that came. */
void answerer_read(struct hutch_relay *relay, struct answerer *answerer);
void answerer_flush(struct answerer *answerer);
/* Ends what is broken. */
void answerers_sweep(struct hutch_relay *relay);
/* The guest is gone: clients get what waits for them, then their connections end. The first reason counts. */
void relay_end(struct hutch_relay *relay, enum hutch_relay_why why, const char *text);
/* The box process's holder is gone: so are clients that it answers. */
void holder_end(struct hutch_relay *relay);

/* loop.c: what the thread runs. */
void *relay_run(void *relay);

#endif
