/* Memory that other functions here give. See helper.h. */
#include "helper.h"

#include <string.h>

void *hutch_pointer_in(void *const *room)
{
  return *room;
}

size_t hutch_text_at(const char *text, uint8_t *copy, size_t size)
{
  const size_t length = strnlen(text, size);
  memcpy(copy, text, length);
  return length;
}

void hutch_bytes_at(const uint8_t *bytes, uint8_t *copy, size_t size)
{
  memcpy(copy, bytes, size);
}
