/* The byte stream to the host: frames in, frames out, nothing blocking.
 *
 * Outgoing bytes pass through two places. `out` collects small frames so that they leave in one
 * write. Larger DATA is first moved (splice, without a copy) from the command's pipe into the
 * `stage` pipe, which fixes its length, then announced by a header in `out`, then moved on into the
 * channel. What is in `stage` always comes after all of `out`, so frames can't mix; and a hostile
 * command that reads its own output pipe can't make a frame shorter than its header says. */
#ifndef HUTCH_AGENT_CHANNEL_H
#define HUTCH_AGENT_CHANNEL_H

#include "frames.h"
#include "loop.h"

#include <stdbool.h>
#include <sys/types.h>

#define CHANNEL_OUT (256 * 1024)
#define CHANNEL_SMALL (16 * 1024) /* DATA up to this size is copied into `out`; of a socket, all is */
/* Room for one small DATA frame or any other frame. */
#define CHANNEL_ROOM (CHANNEL_SMALL + 2 * HUTCH_HEADER_SIZE)

/* Linux 6.12 makes vsock packets of more than 32 KiB, and spliced ones, of several pieces; libkrun
 * 1.17 drops such packets. This, with the packet's header, stays in one piece. */
#define CHANNEL_VSOCK_WRITE (31 * 1024)

struct channel {
  struct watch watch;
  bool readable;
  bool writable;
  bool ended;     /* the host went away */
  bool greeted;   /* the host was seen: from now on its absence is its end */
  bool can_splice;
  size_t max_write; /* bytes in one write */
  int stage_read;
  int stage_write;
  size_t staged;
  size_t out_start;
  size_t out_end;
  uint8_t out[CHANNEL_OUT];
  struct frame_reader reader;
};

/* Takes over `fd`, which is non-blocking. 0 or a negative errno. */
int channel_open(struct channel *channel, struct loop *loop, int fd);
void channel_close(struct channel *channel, struct loop *loop);

/* Reads and hands on up to about `budget` bytes. 0; -EPROTO with *why set; another negative errno
 * if the channel broke. Sets `ended` at its end. */
int channel_receive(struct channel *channel, size_t budget, const struct frame_sink *sink, const char **why);

/* Whether a frame can be added now. */
bool channel_has_room(const struct channel *channel);

/* Adds a frame; there must be room, and the payload must be at most CHANNEL_SMALL bytes. */
void channel_add(struct channel *channel, const struct frame *frame, const void *payload);

/* Adds a DATA frame with up to `limit` bytes from the pipe `fd`. Gives their count (0: the pipe was
 * empty) or a negative errno. There must be room. */
ssize_t channel_add_from_pipe(struct channel *channel, uint32_t stream, uint8_t flags, int fd, size_t limit);

/* Writes what it can. 0: all is gone; -EAGAIN: the channel is full; else it broke. */
int channel_flush(struct channel *channel);

#endif
