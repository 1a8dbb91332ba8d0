/* Numbers and texts as tar archives have them: for layers of images and for copies alike. */
#ifndef HUTCH_COPY_FIELDS_H
#define HUTCH_COPY_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAR_BLOCK 512u

/* Bytes of somebody else's; not ended by a NUL. */
struct text {
  const char *bytes;
  size_t length;
};

bool text_is(struct text text, const char *other);
/* Decimal digits, nothing else. */
bool text_to_number(struct text text, uint64_t *number);
/* "SECONDS[.FRACTION]", maybe negative: the fraction then points further down. */
bool text_to_time(struct text text, int64_t *seconds, uint32_t *nanos);

/* A header block. */
bool header_is_zero(const uint8_t *block);
bool header_checksum_fits(const uint8_t *block);
/* A field of `size` bytes: octal, or GNU's binary. */
bool header_number(const uint8_t *field, size_t size, int64_t *number);

/* Moves what is left of `bytes` from `*at` on into a buffer, as much as fits: how many bytes. Once all
 * were moved, `*length` and `*at` are 0. */
size_t bytes_move(const void *bytes, size_t *length, size_t *at, uint8_t *buffer, size_t size);

#endif
