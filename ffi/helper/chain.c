/* A disk that several files make together. See chain.h. */
#define _GNU_SOURCE 1
#include "chain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int chain_error(hutch_chain *chain, int code, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(chain->error, sizeof chain->error, format, arguments);
  va_end(arguments);
  return code;
}

int chain_pread(int fd, void *buffer, size_t length, uint64_t offset)
{
  uint8_t *bytes = buffer;
  while (length > 0) {
    ssize_t got = pread(fd, bytes, length, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) break;
    bytes += got;
    offset += (uint64_t)got;
    length -= (size_t)got;
  }
  memset(bytes, 0, length);
  return 0;
}

static int open_file(hutch_chain *chain, struct chain_file *file, const char *path)
{
  struct stat status;
  file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (file->fd < 0) return chain_error(chain, -errno, "%s", strerror(errno));
  if (fstat(file->fd, &status) < 0) return chain_error(chain, -errno, "%s", strerror(errno));
  if (!S_ISREG(status.st_mode)) return chain_error(chain, -EBADMSG, "it isn't a file");
  file->length = file->size = (uint64_t)status.st_size;
  return file->qcow2 ? qcow2_open(chain, file) : 0;
}

/* Says which file it was. */
static int named(hutch_chain *chain, int code, const char *path)
{
  char why[sizeof chain->error];
  memcpy(why, chain->error, sizeof why);
  return chain_error(chain, code, "%.300s: %.180s", path, why);
}

static int open_files(hutch_chain *chain, const char *files, size_t length)
{
  uint32_t count = 0;
  for (size_t i = 0; i < length; i++) count += files[i] == 0;
  if (count == 0 || count > CHAIN_MAX_FILES || files[length - 1] != 0)
    return chain_error(chain, -EINVAL, "a chain has 1 to %u files", CHAIN_MAX_FILES);
  chain->files = calloc(count, sizeof *chain->files);
  if (chain->files == NULL) return chain_error(chain, -ENOMEM, "out of memory");
  for (const char *at = files; chain->count < count; at += strlen(at) + 1) {
    struct chain_file *file = &chain->files[chain->count++];
    file->fd = -1;
    if (at[0] != 'q' && at[0] != 'r') return chain_error(chain, -EINVAL, "a format is unknown");
    file->qcow2 = at[0] == 'q';
    int result = open_file(chain, file, at + 1);
    if (result < 0) return named(chain, result, at + 1);
  }
  return 0;
}

int hutch_chain_open(const char *files, size_t length, hutch_chain **out)
{
  hutch_chain *chain = *out = calloc(1, sizeof *chain);
  return chain == NULL ? -ENOMEM : open_files(chain, files, length);
}

uint64_t hutch_chain_size(const hutch_chain *chain)
{
  return chain->files[0].size;
}

static int find_in(hutch_chain *chain, struct chain_file *file, uint64_t offset, uint64_t want,
                   struct chain_piece *piece)
{
  /* A disk that ends reads as zeros behind its end, whatever is below it. */
  if (offset >= file->size) {
    *piece = (struct chain_piece){HUTCH_CHAIN_ZEROS, 0, want};
    return 0;
  }
  if (want > file->size - offset) want = file->size - offset;
  if (file->qcow2) return qcow2_find(chain, file, offset, want, piece);
  *piece = (struct chain_piece){HUTCH_CHAIN_DATA, offset, want};
  return 0;
}

static int find_above(hutch_chain *chain, uint32_t depth, uint64_t offset, uint64_t want,
                      uint32_t *number, struct chain_piece *piece)
{
  for (uint32_t i = 0; i < depth; i++) {
    int result = find_in(chain, &chain->files[i], offset, want, piece);
    if (result < 0) return result;
    *number = i;
    if (piece->kind != HUTCH_CHAIN_NOTHING) return 0;
    want = piece->length; /* beyond it this file may say something */
  }
  *number = depth;
  *piece = (struct chain_piece){HUTCH_CHAIN_NOTHING, 0, want};
  return 0;
}

int chain_find(hutch_chain *chain, uint64_t offset, uint64_t want, uint32_t *number,
               struct chain_piece *piece)
{
  return find_above(chain, chain->count, offset, want, number, piece);
}

int hutch_chain_next(hutch_chain *chain, uint32_t depth, uint64_t offset, uint64_t run[3])
{
  uint64_t size = hutch_chain_size(chain);
  if (depth > chain->count) return chain_error(chain, -EINVAL, "there are fewer files");
  run[0] = offset;
  run[1] = run[2] = HUTCH_CHAIN_NOTHING;
  while (offset < size) {
    uint32_t number;
    struct chain_piece piece;
    int result = find_above(chain, depth, offset, size - offset, &number, &piece);
    if (result < 0) return result;
    bool more = run[2] == HUTCH_CHAIN_NOTHING;
    if (!more && (uint64_t)piece.kind != run[2]) return 0;
    if (piece.kind != HUTCH_CHAIN_NOTHING) {
      if (more) run[0] = offset;
      run[1] += piece.length;
      run[2] = (uint64_t)piece.kind;
    }
    offset += piece.length;
  }
  return 0;
}

int64_t hutch_chain_read(hutch_chain *chain, uint64_t offset, uint8_t *buffer, size_t length)
{
  uint64_t size = hutch_chain_size(chain);
  if (offset > size || length > size - offset)
    return chain_error(chain, -EINVAL, "the disk ends before");
  for (size_t done = 0; done < length;) {
    uint32_t number;
    struct chain_piece piece;
    int result = chain_find(chain, offset + done, length - done, &number, &piece);
    if (result < 0) return result;
    if (piece.kind != HUTCH_CHAIN_DATA) memset(buffer + done, 0, piece.length);
    else result = chain_pread(chain->files[number].fd, buffer + done, piece.length, piece.at);
    if (result < 0) return chain_error(chain, result, "%s", strerror(-result));
    done += piece.length;
  }
  return (int64_t)length;
}

const char *hutch_chain_error(const hutch_chain *chain)
{
  return chain->error;
}

void hutch_chain_close(hutch_chain *chain)
{
  if (chain == NULL) return;
  for (uint32_t i = 0; i < chain->count; i++) {
    if (chain->files[i].fd >= 0) close(chain->files[i].fd);
    qcow2_release(&chain->files[i]);
  }
  free(chain->files);
  free(chain);
}
