/* Bytes to the image file: neighbours are gathered into large writes. */
#define _GNU_SOURCE
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_SIZE (1024u * 1024u)
/* A piece of this size gains nothing from being copied first. */
#define LARGE_PIECE (128u * 1024u)

int output_init(struct output *output, int file)
{
  *output = (struct output){.file = file, .buffer = malloc(BUFFER_SIZE)};
  return output->buffer == NULL ? -ENOMEM : 0;
}

void output_release(struct output *output)
{
  free(output->buffer);
  if (output->file >= 0) close(output->file);
  output->file = -1;
}

static int write_all(int file, uint64_t position, const uint8_t *bytes, size_t length)
{
  while (length > 0) {
    ssize_t done = pwrite(file, bytes, length, (off_t)position);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done < 0 ? -errno : -EIO;
    bytes += done;
    position += (uint64_t)done;
    length -= (size_t)done;
  }
  return 0;
}

int output_flush(struct output *output)
{
  int result = write_all(output->file, output->position, output->buffer, output->fill);
  output->position += output->fill;
  output->fill = 0;
  return result;
}

/* Makes the buffer's end `position`. */
static int move_to(struct output *output, uint64_t position)
{
  if (output->position + output->fill == position) return 0;
  int result = output_flush(output);
  output->position = position;
  return result;
}

int output_write(struct output *output, uint64_t position, const void *bytes, size_t length)
{
  int result = move_to(output, position);
  const uint8_t *next = bytes;
  while (result == 0 && length > 0) {
    if (length >= LARGE_PIECE) {
      result = output_flush(output);
      if (result == 0) result = write_all(output->file, output->position, next, length);
      output->position += length;
      return result;
    }
    size_t part = BUFFER_SIZE - output->fill < length ? BUFFER_SIZE - output->fill : length;
    memcpy(output->buffer + output->fill, next, part);
    output->fill += part;
    next += part;
    length -= part;
    if (output->fill == BUFFER_SIZE) result = output_flush(output);
  }
  return result;
}

int output_zero(struct output *output, uint64_t position, uint64_t length)
{
  static const uint8_t zeros[BLOCK_SIZE];
  int result = 0;
  while (result == 0 && length > 0) {
    size_t part = length < sizeof zeros ? (size_t)length : sizeof zeros;
    result = output_write(output, position, zeros, part);
    position += part;
    length -= part;
  }
  return result;
}

int output_punch(struct output *output, uint64_t position, uint64_t length)
{
#ifdef FALLOC_FL_PUNCH_HOLE
  int result = output_flush(output);
  if (result < 0) return result;
  if (fallocate(output->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)position,
                (off_t)length) == 0)
    return 0;
  if (errno != EOPNOTSUPP && errno != ENOSYS) return -errno;
#endif
  return output_zero(output, position, length);
}
