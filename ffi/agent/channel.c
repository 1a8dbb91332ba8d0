#define _GNU_SOURCE 1
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_channel(struct watch *watch, uint32_t events) {
  struct channel *channel = container_of(watch, struct channel, watch);
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) channel->readable = true;
  if (events & (EPOLLOUT | EPOLLERR)) channel->writable = true;
}

static bool is_vsock(int fd) {
  int family;
  socklen_t size = sizeof family;
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && family == AF_VSOCK;
}

int channel_open(struct channel *channel, struct loop *loop, int fd) {
  channel->watch.fd = -1;
  channel->readable = channel->writable = true;
  channel->ended = channel->greeted = false;
  channel->can_splice = !is_vsock(fd);
  channel->max_write = channel->can_splice ? CHANNEL_OUT : CHANNEL_VSOCK_WRITE;
  channel->staged = channel->out_start = channel->out_end = 0;
  channel->reader.start = channel->reader.end = 0;
  channel->reader.in_data = false;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
  channel->stage_read = ends[0];
  channel->stage_write = ends[1];
  /* Its slots bound the length of a virtio descriptor chain (64 of at most 128) and one DATA frame.
   * Without the size frames are just smaller. */
  fcntl(ends[1], F_SETPIPE_SZ, HUTCH_MAX_PAYLOAD);
  return loop_add(loop, &channel->watch, fd, EPOLLIN | EPOLLOUT, on_channel);
}

void channel_close(struct channel *channel, struct loop *loop) {
  loop_drop(loop, &channel->watch);
  close(channel->stage_read);
  close(channel->stage_write);
}

/* Fills the reader's buffer. 1: something came; 0: nothing now. */
static int fill(struct channel *channel) {
  struct frame_reader *reader = &channel->reader;
  size_t before = reader->end;
  while (reader->end < sizeof reader->buffer) {
    /* A virtio-serial port gives a page at most; several pages go to a command in one write. */
    ssize_t got = read(channel->watch.fd, reader->buffer + reader->end, sizeof reader->buffer - reader->end);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != EAGAIN) return -errno;
    if (got <= 0) {
      channel->readable = false;
      /* A port whose host end isn't open yet reads as ended, too. */
      if (got == 0 && channel->greeted) channel->ended = true;
      break;
    }
    channel->greeted = true;
    reader->end += (size_t)got;
  }
  return reader->end > before;
}

int channel_receive(struct channel *channel, size_t budget, const struct frame_sink *sink, const char **why) {
  size_t total = 0;
  *why = NULL;
  while (channel->readable && total < budget) {
    size_t before = channel->reader.end;
    int result = fill(channel);
    if (result < 0) return result;
    total += channel->reader.end - before;
    if (result > 0 && frames_parse(&channel->reader, sink, why) < 0) return -EPROTO;
  }
  return 0;
}

bool channel_has_room(const struct channel *channel) {
  return channel->staged == 0 && CHANNEL_OUT - channel->out_end >= CHANNEL_ROOM;
}

void channel_add(struct channel *channel, const struct frame *frame, const void *payload) {
  uint8_t *at = channel->out + channel->out_end;
  frame_encode(frame, at);
  if (frame->length > 0) memcpy(at + HUTCH_HEADER_SIZE, payload, frame->length);
  channel->out_end += HUTCH_HEADER_SIZE + frame->length;
}

static ssize_t add_small(struct channel *channel, struct frame *frame, int fd, size_t limit) {
  uint8_t *at = channel->out + channel->out_end;
  ssize_t got;
  do {
    got = read(fd, at + HUTCH_HEADER_SIZE, limit);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return errno == EAGAIN ? 0 : -errno;
  if (got == 0) return 0;
  frame->length = (uint32_t)got;
  frame_encode(frame, at);
  channel->out_end += HUTCH_HEADER_SIZE + (size_t)got;
  return got;
}

ssize_t channel_add_from_pipe(struct channel *channel, uint32_t stream, uint8_t flags, int fd, size_t limit) {
  struct frame frame = {.stream = stream, .type = HUTCH_DATA, .flags = flags};
  if (!channel->can_splice) {
    size_t room = CHANNEL_OUT - channel->out_end - HUTCH_HEADER_SIZE;
    return add_small(channel, &frame, fd, limit < room ? limit : room);
  }
  if (limit <= CHANNEL_SMALL) return add_small(channel, &frame, fd, limit);
  if (limit > HUTCH_MAX_PAYLOAD) limit = HUTCH_MAX_PAYLOAD;
  ssize_t moved;
  do {
    moved = splice(fd, NULL, channel->stage_write, NULL, limit, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  } while (moved < 0 && errno == EINTR);
  if (moved < 0) return errno == EAGAIN ? 0 : -errno;
  if (moved == 0) return 0;
  frame.length = (uint32_t)moved;
  channel->staged = (size_t)moved;
  frame_encode(&frame, channel->out + channel->out_end); /* the payload follows from the stage */
  channel->out_end += HUTCH_HEADER_SIZE;
  return moved;
}

static int flush_out(struct channel *channel) {
  while (channel->out_start < channel->out_end) {
    size_t size = channel->out_end - channel->out_start;
    if (size > channel->max_write) size = channel->max_write;
    ssize_t put = write(channel->watch.fd, channel->out + channel->out_start, size);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return -errno;
    channel->greeted = true;
    channel->out_start += (size_t)put;
  }
  channel->out_start = channel->out_end = 0;
  return 0;
}

/* Where the channel can't be spliced into, staged bytes go through `out`, which is empty here. */
static int copy_staged(struct channel *channel) {
  while (channel->staged > 0) {
    size_t want = channel->staged < CHANNEL_OUT ? channel->staged : CHANNEL_OUT;
    ssize_t got = read(channel->stage_read, channel->out, want);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got < 0 ? -errno : -EIO;
    channel->staged -= (size_t)got;
    channel->out_end = (size_t)got;
    int error = flush_out(channel);
    if (error < 0) return error;
  }
  return 0;
}

static int flush_staged(struct channel *channel) {
  while (channel->staged > 0 && channel->can_splice) {
    ssize_t put = splice(channel->stage_read, NULL, channel->watch.fd, NULL, channel->staged,
                         SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EINVAL) {
      channel->can_splice = false;
      break;
    }
    if (put < 0) return -errno;
    if (put == 0) return -EIO; /* the kernel dropped bytes, which it does without memory for its ring */
    channel->staged -= (size_t)put;
  }
  return copy_staged(channel);
}

int channel_flush(struct channel *channel) {
  if (!channel->writable) return channel->out_end > 0 || channel->staged > 0 ? -EAGAIN : 0;
  int error = flush_out(channel);
  if (error == 0) error = flush_staged(channel);
  if (error == -EAGAIN) channel->writable = false;
  return error;
}
