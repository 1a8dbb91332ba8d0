#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

const char *failure_name(enum failure_kind kind) {
  switch (kind) {
    case FAILURE_BAD_CWD: return "bad_cwd";
    case FAILURE_BAD_REQUEST: return "bad_request";
    case FAILURE_BUSY: return "busy";
    case FAILURE_LIMIT_REFUSED: return "limit_refused";
    case FAILURE_NO_SUCH_USER: return "no_such_user";
    case FAILURE_NOT_EXECUTABLE: return "not_executable";
    case FAILURE_NOT_FOUND: return "not_found";
    case FAILURE_WINDOW_EXCEEDED: return "window_exceeded";
    case FAILURE_FAILED:
    case FAILURE_NONE: break;
  }
  return "failed";
}

void failure_set(struct failure *failure, enum failure_kind kind, int error, const char *format, ...) {
  failure->kind = kind;
  failure->error = error;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(failure->text, sizeof failure->text, format, arguments);
  va_end(arguments);
}
