#include "streams.h"

#include <stdlib.h>

static size_t row_of(const struct client *client, uint32_t number) {
  uint64_t key = (uint64_t)(uintptr_t)client * 0x9e3779b97f4a7c15u + number;
  key *= 0xff51afd7ed558ccdu;
  return (key >> 32) % TABLE_ROWS;
}

struct stream *stream_find(const struct stream_table *table, const struct client *client, uint32_t number) {
  struct stream *each = table->rows[row_of(client, number)];
  while (each != NULL && (each->client != client || each->client_number != number)) each = each->chained;
  return each;
}

static unsigned take_number(struct answerer *answerer) {
  if (answerer->unused < HUTCH_MAX_STREAMS) return ++answerer->unused;
  if (answerer->free_count == 0) return 0;
  unsigned number = answerer->free[answerer->first_free];
  answerer->first_free = (answerer->first_free + 1) % HUTCH_MAX_STREAMS;
  answerer->free_count--;
  return number;
}

static void free_number(struct answerer *answerer, uint16_t number) {
  answerer->free[(answerer->first_free + answerer->free_count++) % HUTCH_MAX_STREAMS] = number;
}

struct stream *stream_add(struct stream_table *table, struct answerer *answerer, struct client *client,
                          uint32_t client_number, bool background) {
  struct stream *stream = calloc(1, sizeof *stream);
  unsigned number = stream == NULL ? 0 : take_number(answerer);
  if (number == 0) {
    free(stream);
    return NULL;
  }
  struct stream **row = &table->rows[row_of(client, client_number)];
  *stream = (struct stream){
    .client = client, .answerer = answerer, .client_number = client_number, .number = (uint16_t)number,
    .background = background, .next = client->streams, .link = &client->streams, .chained = *row,
  };
  *row = stream;
  if (stream->next != NULL) stream->next->link = &stream->next;
  client->streams = stream;
  answerer->streams[number] = stream;
  answerer->count++;
  if (!background) answerer->active++;
  return stream;
}

void stream_part(struct stream_table *table, struct stream *stream) {
  if (stream->client == NULL) return;
  struct stream **row = &table->rows[row_of(stream->client, stream->client_number)];
  while (*row != stream) row = &(*row)->chained;
  *row = stream->chained;
  *stream->link = stream->next;
  if (stream->next != NULL) stream->next->link = stream->link;
  stream->client = NULL;
}

void stream_remove(struct stream_table *table, struct stream *stream, uint64_t now) {
  struct answerer *answerer = stream->answerer;
  stream_part(table, stream);
  answerer->streams[stream->number] = NULL;
  free_number(answerer, stream->number);
  answerer->count--;
  if (!stream->background) {
    answerer->active--;
    answerer->idle_since = now;
  }
  free(stream);
}
