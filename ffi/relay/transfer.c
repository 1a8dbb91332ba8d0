#define _GNU_SOURCE 1
#include "transfer.h"

#include <errno.h>
#include <unistd.h>

#ifdef __linux__
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static int make_file(void) {
  if (prctl(PR_GET_DUMPABLE) != 1) return -1; /* no other program could open it */
  int fd = memfd_create("transfer", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, HUTCH_TRANSFER_BYTES) == 0) return fd;
  close(fd);
  return -1;
}

/* At worst it keeps its memory until the process ends. */
static void clear(int fd) {
  (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUTCH_TRANSFER_BYTES);
}
#else
static int make_file(void) {
  return -1;
}

static void clear(int fd) {
  (void)fd;
}
#endif

void transfer_open(struct transfer *transfer, int fd) {
  *transfer = (struct transfer){.fd = fd >= 0 ? fd : make_file()};
}

void transfer_close(struct transfer *transfer) {
  if (transfer->fd >= 0) close(transfer->fd);
  transfer->fd = -1;
}

static bool write_at(int fd, const uint8_t *bytes, size_t length, off_t at) {
  while (length > 0) {
    ssize_t put = pwrite(fd, bytes, length, at);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    bytes += put;
    at += put;
    length -= (size_t)put;
  }
  return true;
}

bool transfer_put(struct transfer *transfer, const uint8_t *at, uint8_t placed[HUTCH_HEADER_SIZE + HUTCH_PLACED_SIZE]) {
  struct frame frame = frame_read(at);
  if (!transfer->offered || frame.length < TRANSFER_LEAST || transfer->count == TRANSFER_PIECES) return false;
  uint32_t behind = HUTCH_SECTORS(frame.length);
  uint32_t span = (behind + HUTCH_SECTOR + HUTCH_TRANSFER_BLOCK - 1) / HUTCH_TRANSFER_BLOCK * HUTCH_TRANSFER_BLOCK;
  uint32_t place = transfer->at + span > HUTCH_TRANSFER_BYTES ? 0 : transfer->at;
  uint32_t gap = place < transfer->at ? HUTCH_TRANSFER_BYTES - transfer->at : 0;
  if (transfer->used + gap + span > HUTCH_TRANSFER_BYTES) return false;
  uint8_t mark[4];
  if (++transfer->mark == 0) transfer->mark = 1;
  frame_put_u32(mark, transfer->mark);
  transfer->written = true;
  if (!write_at(transfer->fd, at + HUTCH_HEADER_SIZE, frame.length, place) ||
      !write_at(transfer->fd, mark, sizeof mark, place + behind)) return false;
  transfer->at = place + span;
  transfer->used += gap + span;
  transfer->spans[(transfer->first + transfer->count++) % TRANSFER_PIECES] = gap + span;
  frame_put_u32(placed + HUTCH_HEADER_SIZE, place);
  frame_put_u32(placed + HUTCH_HEADER_SIZE + 4, frame.length);
  frame_put_u32(placed + HUTCH_HEADER_SIZE + 8, transfer->mark);
  frame.length = HUTCH_PLACED_SIZE;
  frame.flags |= HUTCH_PLACED;
  frame_write(placed, &frame);
  return true;
}

bool transfer_taken(struct transfer *transfer, uint32_t count) {
  if (transfer->fd < 0 || count > transfer->count) return false;
  transfer->offered = true;
  for (; count > 0; count--) {
    transfer->used -= transfer->spans[transfer->first];
    transfer->first = (transfer->first + 1) % TRANSFER_PIECES;
    transfer->count--;
  }
  return true;
}

void transfer_empty(struct transfer *transfer) {
  if (!transfer->written || transfer->count > 0) return;
  transfer->written = false;
  transfer->at = 0;
  clear(transfer->fd);
}
