#include "byte_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (64 * 1024 - 32)

struct byte_block {
  struct byte_block *next;
  size_t start;
  size_t end;
  uint8_t bytes[BLOCK_BYTES];
};

static struct byte_block *tail_with_room(struct byte_queue *queue) {
  if (queue->tail != NULL && queue->tail->end < BLOCK_BYTES) return queue->tail;
  struct byte_block *block = malloc(sizeof *block);
  if (block == NULL) return NULL;
  block->next = NULL;
  block->start = block->end = 0;
  if (queue->tail == NULL) queue->head = block;
  else queue->tail->next = block;
  queue->tail = block;
  return block;
}

int byte_queue_add(struct byte_queue *queue, const uint8_t *bytes, size_t length) {
  while (length > 0) {
    struct byte_block *block = tail_with_room(queue);
    if (block == NULL) return -ENOMEM;
    size_t piece = BLOCK_BYTES - block->end;
    if (piece > length) piece = length;
    memcpy(block->bytes + block->end, bytes, piece);
    block->end += piece;
    queue->length += piece;
    bytes += piece;
    length -= piece;
  }
  return 0;
}

const uint8_t *byte_queue_peek(const struct byte_queue *queue, size_t *length) {
  const struct byte_block *block = queue->head;
  *length = block == NULL ? 0 : block->end - block->start;
  return block == NULL ? NULL : block->bytes + block->start;
}

static void drop_head(struct byte_queue *queue) {
  struct byte_block *block = queue->head;
  queue->head = block->next;
  if (queue->head == NULL) queue->tail = NULL;
  free(block);
}

void byte_queue_take(struct byte_queue *queue, size_t length) {
  struct byte_block *block = queue->head;
  if (block == NULL) return;
  block->start += length;
  queue->length -= length;
  if (block->start == block->end) drop_head(queue);
}

void byte_queue_clear(struct byte_queue *queue) {
  while (queue->head != NULL) drop_head(queue);
  queue->length = 0;
}
