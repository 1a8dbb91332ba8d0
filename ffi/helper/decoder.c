/* Decompression by libarchive's filters. See helper.h. */
#include "helper.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (256 * 1024)

struct hutch_decoder {
  struct archive *archive;
  bool empty; /* valid, but holds nothing */
  char error[256];
};

static int filter_code(const char *format)
{
  static const struct {
    const char *name;
    int code;
  } known[] = {{"zstd", ARCHIVE_FILTER_ZSTD},
               {"gzip", ARCHIVE_FILTER_GZIP},
               {"xz", ARCHIVE_FILTER_XZ},
               {"bzip2", ARCHIVE_FILTER_BZIP2}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strcmp(known[i].name, format) == 0) return known[i].code;
  return -1;
}

static int failure(hutch_decoder *decoder)
{
  const char *text = archive_error_string(decoder->archive);
  strncpy(decoder->error, text == NULL ? "unknown" : text, sizeof decoder->error - 1);
  /* libarchive has numbers of its own beside errno's, all negative or unknown to us. */
  int number = archive_errno(decoder->archive);
  return number == ENOMEM || number == ENOENT || number == EACCES || number == EIO ? -number
                                                                                    : -EBADMSG;
}

static int open_raw(hutch_decoder *decoder, const char *path, int code)
{
  struct archive_entry *entry;
  /* The filter is set, not bid for: a zstd stream may begin with a skippable frame, which the
   * bidder doesn't know. */
  if (archive_read_support_format_raw(decoder->archive) != ARCHIVE_OK ||
      archive_read_support_format_empty(decoder->archive) != ARCHIVE_OK ||
      archive_read_append_filter(decoder->archive, code) != ARCHIVE_OK ||
      archive_read_open_filename(decoder->archive, path, PIECE) != ARCHIVE_OK)
    return failure(decoder);
  /* Opening looks for the first byte. That there is none may be a failure, which libarchive only
   * notes and then takes the stream for an empty one. */
  if (archive_errno(decoder->archive) != 0) return failure(decoder);
  int result = archive_read_next_header(decoder->archive, &entry);
  if (result == ARCHIVE_OK) return 0;
  if (result != ARCHIVE_EOF || archive_errno(decoder->archive) != 0) return failure(decoder);
  decoder->empty = true;
  return archive_filter_bytes(decoder->archive, -1) > 0 ? 0 : -EBADMSG; /* not even a header */
}

int hutch_decoder_open(const char *path, const char *format, hutch_decoder **out)
{
  *out = NULL;
  int code = filter_code(format);
  if (code < 0) return -EINVAL;
  hutch_decoder *decoder = calloc(1, sizeof *decoder);
  if (decoder == NULL) return -ENOMEM;
  decoder->archive = archive_read_new();
  int result = decoder->archive == NULL ? -ENOMEM : open_raw(decoder, path, code);
  if (result < 0) {
    hutch_decoder_close(decoder);
    return result;
  }
  *out = decoder;
  return 0;
}

int64_t hutch_decoder_read(hutch_decoder *decoder, uint8_t *buffer, size_t size)
{
  if (decoder->empty) return 0;
  la_ssize_t got = archive_read_data(decoder->archive, buffer, size);
  return got >= 0 ? got : failure(decoder);
}

uint64_t hutch_decoder_position(const hutch_decoder *decoder)
{
  int64_t bytes = archive_filter_bytes(decoder->archive, -1);
  return bytes < 0 ? 0 : (uint64_t)bytes;
}

const char *hutch_decoder_error(const hutch_decoder *decoder)
{
  return decoder->error;
}

void hutch_decoder_close(hutch_decoder *decoder)
{
  if (decoder == NULL) return;
  archive_read_free(decoder->archive);
  free(decoder);
}
