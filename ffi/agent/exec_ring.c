#define _GNU_SOURCE 1
#include "exec_ring.h"

#include "agent.h"
#include "exec_io.h"
#include "ring.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define COUNTS 64
/* Bytes that are worth waking the program for; it hears of a frame's last ones at any rate. */
#define TELL (128 * 1024)

void ring_tell(struct exec *exec) {
  while (exec->ring_untold > 0 && exec->in.fd >= 0 && !exec->in_full) {
    ssize_t put = write(exec->in.fd, &exec->ring_untold, sizeof exec->ring_untold);
    if (put > 0) exec->ring_untold = 0; /* a pipe takes so few bytes whole */
    else if (errno == EAGAIN) exec->in_full = true;
    else if (errno != EINTR) exec_input_broken(exec);
  }
  if (exec->in_end && exec->ring_untold == 0) loop_drop(&exec->agent->loop, &exec->in);
}

uint8_t *exec_input_place(struct exec *exec, size_t *room) {
  if (!exec->ring_in || exec->in_broken || exec->in_end || exec->in_unpaid == exec->window) return NULL;
  *room = exec->window - exec->in_unpaid;
  return exec->ring + exec->ring_at;
}

/* It fits: what the program hasn't read isn't paid for, and all that isn't is no more than the ring. */
void ring_input(struct exec *exec, const struct exec_piece *piece) {
  uint8_t *place = exec->ring + exec->ring_at;
  if (piece->bytes != place && piece->length > 0) memcpy(place, piece->bytes, piece->length);
  exec->ring_at = (exec->ring_at + piece->length) % RING_BYTES;
  exec->ring_untold += (uint32_t)piece->length;
  if (piece->last || exec->ring_untold >= TELL) ring_tell(exec);
}

/* What the program says, no more than can be. */
static uint32_t hear(struct exec *exec, uint32_t most) {
  struct exec_output *output = &exec->out[0];
  uint32_t sum = 0;
  while (output->readable) {
    uint32_t counts[COUNTS];
    ssize_t got = read(output->watch.fd, counts, sizeof counts);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) output->hung_up = true;
    if (got <= 0) output->readable = false;
    for (size_t i = 0; got > 0 && i < (size_t)got / sizeof *counts; i++)
      sum += counts[i] < most - sum ? counts[i] : most - sum;
  }
  return sum;
}

static void took_back(struct exec *exec) {
  exec->ring_at = (exec->ring_at + exec->ring_lent) % RING_BYTES;
  exec->ring_ready -= exec->ring_lent;
  exec->ring_untold += exec->ring_lent;
  exec->ring_lent = 0;
  ring_tell(exec);
}

/* True: a frame was lent to the channel. */
static bool lend(struct exec *exec) {
  struct exec_output *output = &exec->out[0];
  uint32_t length = exec->ring_ready < output->credit ? exec->ring_ready : output->credit;
  if (length > HUTCH_MAX_PAYLOAD) length = HUTCH_MAX_PAYLOAD;
  if (length == 0) return false; /* it waits for credit */
  const struct frame frame = {.stream = exec->stream->number, .type = HUTCH_DATA, .flags = HUTCH_STDOUT, .length = length};
  int error = channel_lend(&exec->agent->channel, &frame, exec->ring + exec->ring_at);
  if (error < 0) return error == -EAGAIN; /* else the channel's own way finds it broken */
  output->credit -= length;
  exec->ring_lent = length;
  return true;
}

bool ring_produce(struct exec *exec) {
  struct exec_output *output = &exec->out[0];
  if (output->watch.fd < 0) return false;
  if (exec->ring_lent > 0) took_back(exec);
  if (exec->ring_in) exec_consumed(exec, hear(exec, exec->in_unpaid - exec->in_owed));
  else exec->ring_ready += hear(exec, (uint32_t)RING_BYTES - exec->ring_ready);
  if (exec->ring_ready > 0) return lend(exec);
  output->drain = 0;
  if (!output->hung_up) return false;
  exec_end_output(exec, output, HUTCH_STDOUT);
  return true;
}

void ring_drop(struct exec *exec) {
  if (exec->ring == NULL) return;
  channel_take_back(&exec->agent->channel, exec->ring, 2 * RING_BYTES);
  ring_close(exec->ring);
  exec->ring = NULL;
}
