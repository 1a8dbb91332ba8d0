#include "fields.h"

#include <string.h>

#define CHECKSUM 148u

bool text_is(struct text text, const char *other)
{
  return text.length == strlen(other) && memcmp(text.bytes, other, text.length) == 0;
}

bool text_to_number(struct text text, uint64_t *number)
{
  uint64_t value = 0;
  if (text.length == 0) return false;
  for (size_t i = 0; i < text.length; i++) {
    char digit = text.bytes[i];
    if (digit < '0' || digit > '9' || value > (UINT64_MAX - 9) / 10) return false;
    value = value * 10 + (uint64_t)(digit - '0');
  }
  *number = value;
  return true;
}

bool text_to_time(struct text text, int64_t *seconds, uint32_t *nanos)
{
  bool negative = text.length > 0 && text.bytes[0] == '-';
  if (negative) text.bytes++, text.length--;
  const char *dot = memchr(text.bytes, '.', text.length);
  struct text whole = {text.bytes, dot == NULL ? text.length : (size_t)(dot - text.bytes)};
  uint64_t value = 0;
  uint32_t fraction = 0;
  if (whole.length > 0 && !text_to_number(whole, &value)) return false;
  if (value > INT64_MAX / 2) return false;
  size_t digits = text.length - whole.length - (dot != NULL ? 1 : 0);
  if (whole.length + digits == 0) return false;
  for (size_t i = 0; i < 9; i++) {
    char digit = i < digits ? dot[1 + i] : '0';
    if (digit < '0' || digit > '9') return false;
    fraction = fraction * 10 + (uint32_t)(digit - '0');
  }
  for (size_t i = 9; i < digits; i++)
    if (dot[1 + i] < '0' || dot[1 + i] > '9') return false;
  *seconds = negative ? -(int64_t)value : (int64_t)value;
  *nanos = fraction;
  if (negative && fraction > 0) {
    *seconds -= 1;
    *nanos = 1000000000 - fraction;
  }
  return true;
}

bool header_is_zero(const uint8_t *block)
{
  for (size_t i = 0; i < TAR_BLOCK; i++)
    if (block[i] != 0) return false;
  return true;
}

bool header_checksum_fits(const uint8_t *block)
{
  int64_t wanted, plain = 0, with_sign = 0; /* some old writers summed signed bytes */
  if (!header_number(block + CHECKSUM, 8, &wanted)) return false;
  for (size_t i = 0; i < TAR_BLOCK; i++) {
    uint8_t byte = i >= CHECKSUM && i < CHECKSUM + 8 ? ' ' : block[i];
    plain += byte;
    with_sign += (int8_t)byte;
  }
  return wanted == plain || wanted == with_sign;
}

static bool binary_number(const uint8_t *field, size_t size, int64_t *number)
{
  bool negative = (field[0] & 0x40) != 0;
  uint8_t filler = negative ? 0xff : 0;
  uint64_t value = negative ? UINT64_MAX : 0;
  for (size_t i = 0; i < size; i++) {
    uint8_t byte = field[i];
    if (i == 0) byte = (uint8_t)((byte & 0x7f) | (negative ? 0x80 : 0));
    if (value >> 56 != filler) return false;
    value = value << 8 | byte;
  }
  if ((value >> 63 != 0) != negative) return false;
  memcpy(number, &value, sizeof *number);
  return true;
}

bool header_number(const uint8_t *field, size_t size, int64_t *number)
{
  if ((field[0] & 0x80) != 0) return binary_number(field, size, number);
  size_t at = 0;
  while (at < size && (field[at] == ' ' || field[at] == 0)) at++;
  int64_t value = 0;
  for (; at < size && field[at] >= '0' && field[at] <= '7'; at++) value = value * 8 + field[at] - '0';
  if (at < size && field[at] != ' ' && field[at] != 0) return false;
  *number = value;
  return true;
}

size_t bytes_move(const void *bytes, size_t *length, size_t *at, uint8_t *buffer, size_t size)
{
  size_t ready = *length - *at;
  size_t part = ready < size ? ready : size;
  if (part > 0) memcpy(buffer, (const uint8_t *)bytes + *at, part);
  *at += part;
  if (*at == *length) *length = *at = 0;
  return part;
}
