#include "streams.h"

#include "../protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct stream **bucket(struct streams *streams, uint32_t number) {
  return &streams->buckets[number % STREAM_BUCKETS];
}

struct stream *stream_find(struct streams *streams, uint32_t number) {
  struct stream *stream = *bucket(streams, number);
  while (stream != NULL && stream->number != number) stream = stream->next_in_bucket;
  return stream;
}

struct stream *stream_open(struct streams *streams, uint32_t number) {
  struct stream *stream = calloc(1, sizeof *stream);
  if (stream == NULL) return NULL;
  stream->number = number;
  stream->next_in_bucket = *bucket(streams, number);
  *bucket(streams, number) = stream;
  streams->count++;
  return stream;
}

static void leave_queue(struct streams *streams, const struct stream *stream) {
  struct stream *before = NULL;
  for (struct stream *at = streams->ready_head; at != stream; at = at->next_ready) before = at;
  if (before == NULL) streams->ready_head = stream->next_ready;
  else before->next_ready = stream->next_ready;
  if (streams->ready_tail == stream) streams->ready_tail = before;
}

void stream_free(struct streams *streams, struct stream *stream) {
  if (stream->ready) leave_queue(streams, stream);
  struct stream **link = bucket(streams, stream->number);
  while (*link != stream) link = &(*link)->next_in_bucket;
  *link = stream->next_in_bucket;
  streams->count--;
  free(stream->answer);
  free(stream);
}

void stream_ready(struct streams *streams, struct stream *stream) {
  if (stream->ready) return;
  stream->ready = true;
  stream->next_ready = NULL;
  if (streams->ready_head == NULL) streams->ready_head = stream;
  else streams->ready_tail->next_ready = stream;
  streams->ready_tail = stream;
}

struct stream *stream_next(struct streams *streams) {
  struct stream *stream = streams->ready_head;
  if (stream == NULL) return NULL;
  streams->ready_head = stream->next_ready;
  stream->ready = false;
  return stream;
}

int stream_answer(struct streams *streams, struct stream *stream, uint8_t type, const struct cbor_out *message) {
  if (message->overflow) return -EOVERFLOW;
  uint8_t *copy = malloc(message->length + 1);
  if (copy == NULL) return -ENOMEM;
  memcpy(copy, message->bytes, message->length);
  free(stream->answer);
  stream->answer = copy;
  stream->answer_length = (uint32_t)message->length;
  stream->answer_type = type;
  stream->has_answer = true;
  stream_ready(streams, stream);
  return 0;
}

int stream_refuse(struct streams *streams, struct stream *stream, const struct failure *failure) {
  struct cbor_out message = {0};
  cbor_out_map(&message, 3);
  cbor_out_text(&message, "kind");
  cbor_out_text(&message, failure_name(failure->kind));
  cbor_out_text(&message, "errno");
  cbor_out_uint(&message, failure->error > 0 ? (uint64_t)failure->error : 0);
  cbor_out_text(&message, "message");
  cbor_out_text(&message, failure->text);
  stream->done = true;
  return stream_answer(streams, stream, HUTCH_ERROR, &message);
}
