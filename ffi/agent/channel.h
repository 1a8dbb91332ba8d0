/* The byte stream to the host: frames in, frames out, nothing blocking.
 *
 * Outgoing frames collect in `out` and leave in as few writes as possible. (Moving pages from a
 * command's pipe into the port with splice was tried: QEMU sends each page by itself, which costs
 * what the copy saves, and a port with fewer descriptors than a full pipe has pages, as libkrun's,
 * makes the kernel drop them.) */
#ifndef HUTCH_AGENT_CHANNEL_H
#define HUTCH_AGENT_CHANNEL_H

#include "frames.h"
#include "loop.h"

#include <stdbool.h>
#include <sys/types.h>

#define CHANNEL_OUT (256 * 1024)
/* Room for any frame but DATA, and for DATA that is worth a frame. */
#define CHANNEL_ROOM (16 * 1024)

struct channel {
  struct loop *loop;
  struct watch watch;
  bool readable;
  bool writable;
  bool ended;     /* the host went away */
  bool greeted;   /* the host was seen: from now on its absence is its end */
  size_t out_start;
  size_t out_end;
  uint8_t out[CHANNEL_OUT + HUTCH_HEADER_SIZE]; /* and a whole DATA frame at least */
  const uint8_t *lent; /* somebody else's bytes, which follow; nothing is added meanwhile */
  size_t lent_length;
  bool places;         /* the last bytes of DATA were read to where they belong */
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

/* Adds a frame; there must be room, and the payload must be less than CHANNEL_ROOM bytes by a header. */
void channel_add(struct channel *channel, const struct frame *frame, const void *payload);

/* Adds a DATA frame, once all else is gone, whose bytes stay where they are, unchanged until there is room
 * again or they are taken back. 0; or a negative errno, -EAGAIN: not now. There must be room. */
int channel_lend(struct channel *channel, const struct frame *frame, const uint8_t *payload);
/* The memory of lent bytes is about to go. */
void channel_take_back(struct channel *channel, const uint8_t *from, size_t length);

/* Adds a DATA frame with up to `limit` bytes from the pipe `fd`. Gives their count (0: the pipe was
 * empty) or a negative errno. There must be room. */
ssize_t channel_add_from_pipe(struct channel *channel, uint32_t stream, uint8_t flags, int fd, size_t limit);

/* Writes what it can. 0: all is gone; -EAGAIN: the channel is full; else it broke. */
int channel_flush(struct channel *channel);

#endif
