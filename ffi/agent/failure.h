/* Why a request failed: the `kind` of an ERROR frame (see src/guest/messages.ts). */
#ifndef HUTCH_AGENT_FAILURE_H
#define HUTCH_AGENT_FAILURE_H

#define FAILURE_TEXT 400

enum failure_kind {
  FAILURE_NONE = 0,
  FAILURE_BAD_CWD,
  FAILURE_BAD_REQUEST,
  FAILURE_BUSY,
  FAILURE_FAILED,
  FAILURE_LIMIT_REFUSED,
  FAILURE_NO_SUCH_USER,
  FAILURE_NOT_EXECUTABLE,
  FAILURE_NOT_FOUND,
  FAILURE_WINDOW_EXCEEDED,
};

struct failure {
  enum failure_kind kind;
  int error; /* Linux errno, or 0 */
  char text[FAILURE_TEXT];
};

/* The kind's name on the wire. */
const char *failure_name(enum failure_kind kind);

/* Fills `failure`; the text is cut to fit. */
void failure_set(struct failure *failure, enum failure_kind kind, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
