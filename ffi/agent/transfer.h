/* The transfer disk, as the agent reads it: see transfer_disk.h. */
#ifndef HUTCH_AGENT_TRANSFER_H
#define HUTCH_AGENT_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel;

struct transfer {
  int fd;         /* -1: there is none */
  uint32_t taken; /* pieces that the relay hasn't heard of */
  uint32_t bytes; /* in them */
};

/* Opens the disk at `path`; NULL: there is none. What can't be opened isn't there. */
void transfer_open(struct transfer *transfer, const char *path);

/* After a hello: says that the disk is there. */
void transfer_greet(struct transfer *transfer, struct channel *channel);

/* Reads a piece, which the payload of a frame is about, to `place` if that works within its `room` bytes, else
 * somewhere where it stays until the next piece. Where it is, with *length; NULL with *why if that can't be, or
 * without if the frame was of another machine's host. */
const uint8_t *transfer_take(struct transfer *transfer, const uint8_t *payload, uint8_t *place, size_t room,
                             size_t *length, const char **why);

/* Says how many were read, if it is time; `now`: in any case. There must be room. */
void transfer_tell(struct transfer *transfer, struct channel *channel, bool now);

#endif
