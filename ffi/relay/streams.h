/* Who has which streams: the numbers of clients, and those of whoever answers them. */
#ifndef HUTCH_RELAY_STREAMS_H
#define HUTCH_RELAY_STREAMS_H

#include "rules.h"
#include "wire.h"

struct client;

/* One stream, from OPEN to the CLOSE of whoever answers it. */
struct stream {
  struct rules rules;
  struct client *client; /* NULL: gone */
  struct answerer *answerer;
  uint32_t client_number;
  uint16_t number; /* at the answerer, 1 to HUTCH_MAX_STREAMS */
  bool background; /* no activity of the box */
  bool closing;    /* CLOSE was sent: what comes before the answerer's is dropped */
  struct stream *next, **link; /* of its client */
  struct stream *chained;      /* in its row of the table */
};

/* The guest, or the box process's holder. */
struct answerer {
  struct wire wire;
  int broken; /* a negative errno: its connection can't go on */
  struct stream *streams[HUTCH_MAX_STREAMS + 1]; /* by number */
  /* Numbers that were used and are free again, oldest first: a number rests as long as it can. */
  uint16_t free[HUTCH_MAX_STREAMS];
  unsigned first_free, free_count, unused;
  unsigned count, active;
  uint64_t idle_since; /* ns; 0 before the first stream that wasn't in the background */
};

struct client {
  struct wire wire;
  bool own;     /* the box process's: not counted */
  bool greeted; /* was sent HELLO */
  bool deaf;    /* takes nothing more; what it sent is still read */
  bool gone;    /* to be freed, with its wire, at the end of the turn */
  unsigned held; /* streams of it that the holder answers */
  struct stream *streams;
};

/* Finds streams by client and its number. */
enum { TABLE_ROWS = 2048 };
struct stream_table {
  struct stream *rows[TABLE_ROWS];
};

/* NULL: the client has none of that number. */
struct stream *stream_find(const struct stream_table *table, const struct client *client, uint32_t number);

/* A new stream; NULL if the answerer has as many as it may, or there is no memory. */
struct stream *stream_add(struct stream_table *table, struct answerer *answerer, struct client *client,
                          uint32_t client_number, bool background);

/* Takes it from its client, which is gone or was told of its end. */
void stream_part(struct stream_table *table, struct stream *stream);

/* Frees it and its number: the answerer sent CLOSE. */
void stream_remove(struct stream_table *table, struct stream *stream, uint64_t now);

#endif
