/* Bytes that wait for a pipe to take them, in blocks, so that many small pieces cost no more than
 * one large one. Its owner bounds it (by the credit window). */
#ifndef HUTCH_AGENT_BYTE_QUEUE_H
#define HUTCH_AGENT_BYTE_QUEUE_H

#include <stddef.h>
#include <stdint.h>

struct byte_block;

struct byte_queue {
  size_t length;
  struct byte_block *head;
  struct byte_block *tail;
};

/* 0 or -ENOMEM (some of the bytes may then be in). */
int byte_queue_add(struct byte_queue *queue, const uint8_t *bytes, size_t length);
/* The first stretch of contiguous bytes; NULL and 0 if there are none. */
const uint8_t *byte_queue_peek(const struct byte_queue *queue, size_t *length);
/* Removes bytes that were peeked at. */
void byte_queue_take(struct byte_queue *queue, size_t length);
void byte_queue_clear(struct byte_queue *queue);

#endif
