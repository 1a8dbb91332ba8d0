#include "files_frame.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

static void put_number(uint8_t *bytes, size_t number) {
  for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(number >> (24 - 8 * i));
}

int files_frame_write(const struct cbor_out *head, uint8_t *data, size_t length) {
  uint8_t lengths[FILES_FRAME_HEAD];
  put_number(lengths, head->length);
  put_number(lengths + 4, length);
  struct iovec parts[3] = {{lengths, sizeof lengths}, {(uint8_t *)head->bytes, head->length}, {data, length}};
  for (int first = 0; first < 3;) {
    ssize_t put = writev(STDOUT_FILENO, parts + first, 3 - first);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return -errno;
    for (; first < 3 && (size_t)put >= parts[first].iov_len; first++) put -= (ssize_t)parts[first].iov_len;
    if (first == 3) break;
    parts[first].iov_base = (uint8_t *)parts[first].iov_base + put;
    parts[first].iov_len -= (size_t)put;
  }
  return 0;
}
