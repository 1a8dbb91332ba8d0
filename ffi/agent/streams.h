/* The streams that the host has opened, and whose turn it is to send. */
#ifndef HUTCH_AGENT_STREAMS_H
#define HUTCH_AGENT_STREAMS_H

#include "cbor_out.h"
#include "failure.h"

#include <stdbool.h>
#include <stdint.h>

#define STREAM_BUCKETS 256
/* Beyond HUTCH_MAX_STREAMS requests are refused, each refusal needing a stream for a moment; a host
 * that sends this many more without reading has lost its mind. */
#define STREAM_REFUSALS 256

struct agent;
struct exec;

struct stream {
  uint32_t number;
  struct stream *next_in_bucket;
  struct stream *next_ready;
  bool ready;    /* in the queue of those that have something to send */
  bool has_answer;
  bool answered; /* a REPLY or ERROR was sent */
  bool parked;   /* its host is gone, and another one may adopt its command */
  bool done;     /* CLOSE follows once the answer, and the command if there is one, are through */
  uint8_t answer_type;
  uint32_t answer_length;
  uint8_t *answer;
  struct exec *exec; /* or NULL */
};

struct streams {
  uint32_t count;
  struct stream *buckets[STREAM_BUCKETS];
  struct stream *ready_head;
  struct stream *ready_tail;
};

struct stream *stream_find(struct streams *streams, uint32_t number);
/* NULL: no memory. The number must be free. */
struct stream *stream_open(struct streams *streams, uint32_t number);
/* Forgets it, also where it is in the queue: a command may put it there in its own last turn. Its exec
 * must be gone. */
void stream_free(struct streams *streams, struct stream *stream);

/* Puts it at the end of the queue of those that may have something to send. */
void stream_ready(struct streams *streams, struct stream *stream);
/* Takes the first of the queue, or gives NULL. */
struct stream *stream_next(struct streams *streams);

/* Sets what is sent first; an answer not sent yet is replaced. -ENOMEM if it can't be kept. */
int stream_answer(struct streams *streams, struct stream *stream, uint8_t type, const struct cbor_out *message);

/* Answers ERROR and marks the stream done. */
int stream_refuse(struct streams *streams, struct stream *stream, const struct failure *failure);

#endif
