#include "copy.h"

#include <stdio.h>
#include <string.h>

int copy_fail(struct copy_failure *failure, int code, const char *path, const char *format, ...)
{
  if (failure->code != 0) return -failure->code;
  failure->code = code;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(failure->text, sizeof failure->text, format, arguments);
  va_end(arguments);
  snprintf(failure->path, sizeof failure->path, "%s", path);
  return -code;
}

size_t copy_failure_line(const struct copy_failure *failure, char *line, size_t size)
{
  static const char digits[] = "0123456789abcdef";
  int head = snprintf(line, size, "E %d %s\t", failure->code, failure->text);
  size_t at = head < 0 ? 0 : (size_t)head;
  for (const char *from = failure->path; *from != '\0'; from++) {
    unsigned char byte = (unsigned char)*from;
    bool plain = byte >= ' ' && byte <= '~' && byte != '\\';
    const char escaped[] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    size_t length = plain ? 1 : sizeof escaped;
    if (at + length < size) memcpy(line + at, plain ? from : escaped, length);
    at += length;
  }
  if (at + 1 < size) line[at] = '\n';
  at++;
  if (at < size) line[at] = '\0';
  return at;
}
