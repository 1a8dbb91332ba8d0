#define _GNU_SOURCE 1
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Bytes read to find the next frame, whose own are to go elsewhere. */
#define NEXT_HEADER 4096

static void on_channel(struct watch *watch, uint32_t events) {
  struct channel *channel = container_of(watch, struct channel, watch);
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) channel->readable = true;
  if ((events & (EPOLLOUT | EPOLLERR)) == 0) return;
  channel->writable = true;
  loop_change(channel->loop, watch, EPOLLIN); /* at worst, news that nobody waits for */
}

/* Only a full channel is watched for room: a port tells of it after each write otherwise. */
static int await_room(struct channel *channel) {
  channel->writable = false;
  int error = loop_change(channel->loop, &channel->watch, EPOLLIN | EPOLLOUT);
  return error < 0 ? error : -EAGAIN;
}

int channel_open(struct channel *channel, struct loop *loop, int fd) {
  channel->loop = loop;
  channel->watch.fd = -1;
  channel->readable = channel->writable = true;
  channel->ended = channel->greeted = false;
  channel->out_start = channel->out_end = channel->lent_length = 0;
  channel->places = false;
  channel->reader.start = channel->reader.end = 0;
  channel->reader.in_data = false;
  return loop_add(loop, &channel->watch, fd, EPOLLIN, on_channel);
}

void channel_close(struct channel *channel, struct loop *loop) {
  loop_drop(loop, &channel->watch);
}

/* Fills the reader's buffer. 1: something came; 0: nothing now. */
static int fill(struct channel *channel) {
  struct frame_reader *reader = &channel->reader;
  size_t before = reader->end;
  while (reader->end < sizeof reader->buffer) {
    size_t room = sizeof reader->buffer - reader->end;
    if (channel->places && room > NEXT_HEADER) room = NEXT_HEADER;
    /* A virtio-serial port gives a page at most; several pages go to a command in one write. */
    ssize_t got = read(channel->watch.fd, reader->buffer + reader->end, room);
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
    if (channel->places) break; /* what follows has a place of its own */
  }
  return reader->end > before;
}

/* Reads bytes of a DATA frame to where they belong; how many, or a negative errno. */
static ssize_t read_to(struct channel *channel, uint8_t *place, size_t room) {
  size_t at = 0;
  while (at < room) {
    ssize_t got = read(channel->watch.fd, place + at, room - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != EAGAIN) return -errno;
    if (got <= 0) {
      channel->readable = false;
      if (got == 0) channel->ended = true;
      break;
    }
    at += (size_t)got;
  }
  return (ssize_t)at;
}

/* The place of what comes next, if it has one; nothing of it is in the reader's buffer. */
static uint8_t *place_of_next(struct channel *channel, const struct frame_sink *sink, size_t *room) {
  const struct frame_reader *reader = &channel->reader;
  if (!reader->in_data || reader->start < reader->end || sink->place == NULL) return NULL;
  uint8_t *place = sink->place(sink->context, &reader->data, room);
  if (place != NULL && *room > reader->data_left) *room = reader->data_left;
  return place;
}

int channel_receive(struct channel *channel, size_t budget, const struct frame_sink *sink, const char **why) {
  size_t total = 0;
  *why = NULL;
  while (channel->readable && total < budget) {
    size_t room;
    uint8_t *place = place_of_next(channel, sink, &room);
    if (place != NULL) {
      ssize_t got = read_to(channel, place, room);
      if (got < 0) return (int)got;
      channel->places = true;
      total += (size_t)got;
      if (got > 0) frames_placed(&channel->reader, sink, place, (size_t)got);
      continue;
    }
    size_t before = channel->reader.end;
    int result = fill(channel);
    if (result < 0) return result;
    total += channel->reader.end - before;
    if (result > 0 && frames_parse(&channel->reader, sink, why) < 0) return -EPROTO;
    if (result > 0 && !channel->reader.in_data) channel->places = false;
  }
  return 0;
}

bool channel_has_room(const struct channel *channel) {
  return channel->lent_length == 0 && CHANNEL_OUT - channel->out_end >= CHANNEL_ROOM;
}

void channel_add(struct channel *channel, const struct frame *frame, const void *payload) {
  uint8_t *at = channel->out + channel->out_end;
  frame_encode(frame, at);
  if (frame->length > 0) memcpy(at + HUTCH_HEADER_SIZE, payload, frame->length);
  channel->out_end += HUTCH_HEADER_SIZE + frame->length;
}

ssize_t channel_add_from_pipe(struct channel *channel, uint32_t stream, uint8_t flags, int fd, size_t limit) {
  struct frame frame = {.stream = stream, .type = HUTCH_DATA, .flags = flags};
  uint8_t *at = channel->out + channel->out_end;
  size_t room = CHANNEL_OUT - channel->out_end - HUTCH_HEADER_SIZE;
  if (limit > room) limit = room;
  ssize_t got;
  do {
    got = read(fd, at + HUTCH_HEADER_SIZE, limit);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return errno == EAGAIN ? 0 : -errno;
  if (got == 0) return 0;
  frame.length = (uint32_t)got;
  frame_encode(&frame, at);
  channel->out_end += HUTCH_HEADER_SIZE + (size_t)got;
  return got;
}

static int flush_out(struct channel *channel) {
  while (channel->out_start < channel->out_end || channel->lent_length > 0) {
    bool lent = channel->out_start == channel->out_end;
    const uint8_t *from = lent ? channel->lent : channel->out + channel->out_start;
    ssize_t put = write(channel->watch.fd, from, lent ? channel->lent_length : channel->out_end - channel->out_start);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return -errno;
    channel->greeted = true;
    if (!lent) {
      channel->out_start += (size_t)put;
    } else {
      channel->lent += put;
      channel->lent_length -= (size_t)put;
    }
  }
  channel->out_start = channel->out_end = 0;
  return 0;
}

int channel_lend(struct channel *channel, const struct frame *frame, const uint8_t *payload) {
  int error = channel->out_end > 0 ? channel_flush(channel) : 0;
  if (error < 0) return error;
  frame_encode(frame, channel->out);
  channel->out_end = HUTCH_HEADER_SIZE;
  channel->lent = payload;
  channel->lent_length = frame->length;
  return 0;
}

void channel_take_back(struct channel *channel, const uint8_t *from, size_t length) {
  if (channel->lent_length == 0 || channel->lent < from || channel->lent >= from + length) return;
  /* They fit: nothing but their frame's header is there. */
  memcpy(channel->out + channel->out_end, channel->lent, channel->lent_length);
  channel->out_end += channel->lent_length;
  channel->lent_length = 0;
}

int channel_flush(struct channel *channel) {
  if (!channel->writable) return channel->out_end > 0 || channel->lent_length > 0 ? -EAGAIN : 0;
  int error = flush_out(channel);
  return error == -EAGAIN ? await_room(channel) : error;
}
