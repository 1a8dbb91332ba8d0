#define _GNU_SOURCE 1
#include "side.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { PIECE = 256 * 1024 };

bool side_keep(struct side *to, const uint8_t *bytes, size_t length) {
  if (length == 0) return true;
  uint8_t *more = malloc(to->length + length);
  if (more == NULL) return false;
  if (to->length > 0) memcpy(more, to->rest + to->start, to->length);
  memcpy(more + to->length, bytes, length);
  free(to->rest);
  to->rest = more;
  to->start = 0;
  to->length += length;
  return true;
}

/* How much of it went; -1: nothing can go any more. */
static ssize_t put(const struct side *to, const uint8_t *bytes, size_t length) {
  if (!to->connected || length == 0) return 0;
  ssize_t sent = send(to->watch.fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : sent;
}

bool side_flush(struct side *to) {
  ssize_t sent = put(to, to->rest + to->start, to->length);
  if (sent < 0) return false;
  to->start += (size_t)sent;
  to->length -= (size_t)sent;
  if (to->length > 0) return true;
  free(to->rest);
  to->rest = NULL;
  return true;
}

bool side_carry(struct side *from, struct side *to) {
  static uint8_t piece[PIECE];
  ssize_t got = recv(from->watch.fd, piece, sizeof piece, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) from->ended = true;
  ssize_t sent = to->length > 0 ? 0 : put(to, piece, (size_t)got);
  return sent >= 0 && side_keep(to, piece + sent, (size_t)(got - sent));
}

void side_reset(struct side *side) {
  struct linger now = {.l_onoff = 1};
  if (side->watch.fd < 0) return;
  setsockopt(side->watch.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  loop_drop(&side->watch);
}
