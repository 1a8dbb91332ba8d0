#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void log_line(const char *format, ...) {
  int saved = errno;
  char line[512];
  int used = snprintf(line, sizeof line, "hutch-agent: ");
  va_list arguments;
  va_start(arguments, format);
  int more = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
  va_end(arguments);
  size_t length = (size_t)used + (more > 0 ? (size_t)more : 0);
  if (length > sizeof line - 2) length = sizeof line - 2;
  line[length++] = '\n';
  /* One write, so that lines of several processes don't mix; nobody is there to hear of a failure. */
  ssize_t written = write(STDERR_FILENO, line, length);
  (void)written;
  errno = saved;
}
