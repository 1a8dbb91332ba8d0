#define _GNU_SOURCE 1
#include "transfer.h"

#include "../transfer_disk.h"
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define TELL (HUTCH_TRANSFER_BYTES / 4)

/* What is read past the page cache is whole sectors, in memory as on the disk. */
static uint8_t buffer[HUTCH_MAX_PAYLOAD + HUTCH_SECTOR] __attribute__((aligned(4096)));

#ifdef HUTCH_NATIVE
#define DIRECT 0 /* a file, which the host's page cache has as it is */
#else
#define DIRECT O_DIRECT
#endif

void transfer_open(struct transfer *transfer, const char *path) {
  *transfer = (struct transfer){.fd = -1};
  if (path != NULL) transfer->fd = open(path, O_RDONLY | DIRECT | O_CLOEXEC);
}

static void add(struct transfer *transfer, struct channel *channel) {
  uint8_t count[4];
  frame_put_u32(count, transfer->taken);
  const struct frame frame = {.type = HUTCH_TAKEN, .length = sizeof count};
  channel_add(channel, &frame, count);
  transfer->taken = transfer->bytes = 0;
}

void transfer_greet(struct transfer *transfer, struct channel *channel) {
  transfer->taken = transfer->bytes = 0; /* what was taken was another host's */
  if (transfer->fd >= 0) add(transfer, channel);
}

void transfer_tell(struct transfer *transfer, struct channel *channel, bool now) {
  if (transfer->bytes >= TELL || (now && transfer->taken > 0)) add(transfer, channel);
}

static int read_at(int fd, uint8_t *bytes, size_t length, off_t at) {
  while (length > 0) {
    ssize_t got = pread(fd, bytes, length, at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got < 0 ? -errno : -EIO;
    bytes += got;
    at += got;
    length -= (size_t)got;
  }
  return 0;
}

const uint8_t *transfer_take(struct transfer *transfer, const uint8_t *payload, uint8_t *place, size_t room,
                             size_t *length, const char **why) {
  uint32_t at = frame_u32(payload), bytes = frame_u32(payload + 4), mark = frame_u32(payload + 8);
  *why = "a piece that isn't on the transfer disk";
  if (transfer->fd < 0 || bytes == 0 || bytes > HUTCH_MAX_PAYLOAD || at % HUTCH_TRANSFER_BLOCK != 0 ||
      at > HUTCH_TRANSFER_BYTES) return NULL;
  size_t behind = HUTCH_SECTORS(bytes), whole = behind + HUTCH_SECTOR;
  if (whole > HUTCH_TRANSFER_BYTES - at) return NULL;
  bool fits = place != NULL && room >= whole && (uintptr_t)place % HUTCH_SECTOR == 0;
  uint8_t *to = fits ? place : buffer;
  int error = read_at(transfer->fd, to, whole, at);
  *why = strerror(-error);
  if (error < 0) return NULL;
  *why = NULL;
  if (mark == 0 || frame_u32(to + behind) != mark) return NULL;
  transfer->taken++;
  transfer->bytes += bytes;
  *length = bytes;
  return to;
}
