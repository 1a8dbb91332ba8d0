/* The agent's programs `unpack` and `pack`. What is large moves between file and pipe without a way
 * through this process. */
#define _GNU_SOURCE 1
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define PIECE (64u * 1024)
#define MOVE (1024u * 1024)

static int put_all(int fd, const void *bytes, size_t length)
{
  for (const char *at = bytes; length > 0;) {
    ssize_t put = write(fd, at, length);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return -errno;
    at += put;
    length -= (size_t)put;
  }
  return 0;
}

/* A failure as the host reads it. Gives the exit code. */
static int say(const struct copy_failure *failure)
{
  static char line[5 * COPY_MAX_PATH];
  size_t length = copy_failure_line(failure, line, sizeof line);
  put_all(2, line, length < sizeof line ? length : sizeof line - 1);
  return 1;
}

static int say_done(uint64_t entries, uint64_t bytes, uint64_t skipped)
{
  char line[80];
  int length = snprintf(line, sizeof line, "S %llu %llu %llu\n", (unsigned long long)entries, (unsigned long long)bytes,
                        (unsigned long long)skipped);
  put_all(2, line, (size_t)length);
  return 0;
}

static int say_usage(void)
{
  struct copy_failure failure = {.code = EINVAL, .text = "the request is wrong"};
  return say(&failure);
}

static uint32_t flags_of(const char *text, struct copy_owner *owner)
{
  uint32_t flags = (uint32_t)strtoul(text, NULL, 10);
  owner->kind = flags & COPY_OWNERS ? COPY_OWNERS_KEEP : COPY_OWNERS_NONE;
  return flags;
}

/* Bytes moved; 0 where it can't be done in this way, or the stream has ended. */
static uint64_t splice_in(int fd, uint64_t left)
{
  ssize_t moved;
  do moved = splice(0, NULL, fd, NULL, left < MOVE ? (size_t)left : MOVE, SPLICE_F_MOVE);
  while (moved < 0 && errno == EINTR);
  return moved < 0 ? 0 : (uint64_t)moved;
}

int unpack_main(int argc, char **argv)
{
  static uint8_t buffer[PIECE];
  if (argc != 4) return say_usage();
  struct copy_unpack_options options = {0};
  options.flags = flags_of(argv[1], &options.owner);
  struct copy_unpack *unpack = copy_unpack_open(argv[2], argv[3], &options);
  int64_t result = unpack == NULL ? -ENOMEM : 0;
  while (result >= 0) {
    uint64_t left;
    int fd = copy_unpack_file(unpack, &left);
    uint64_t moved = fd >= 0 && left >= PIECE ? splice_in(fd, left) : 0;
    if (moved > 0) {
      copy_unpack_spliced(unpack, moved);
      continue;
    }
    /* By hand: what can't be moved, and what says why it can't be written. */
    ssize_t got = read(0, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      result = copy_unpack_finish(unpack);
      break;
    }
    result = copy_unpack_push(unpack, buffer, (size_t)got);
  }
  if (unpack == NULL) return say(&(struct copy_failure){.code = ENOMEM, .text = "no memory"});
  int code = result < 0 ? say(copy_unpack_failure(unpack))
                        : say_done(copy_unpack_entries(unpack), copy_unpack_bytes(unpack), 0);
  copy_unpack_close(unpack);
  return code;
}

/* Bytes sent, or a negative errno. */
static int64_t send_out(int fd, uint64_t left)
{
  ssize_t sent;
  do sent = sendfile(1, fd, NULL, left < MOVE ? (size_t)left : MOVE);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : sent;
}

int pack_main(int argc, char **argv)
{
  static uint8_t buffer[PIECE];
  if (argc != 4) return say_usage();
  struct copy_pack_options options = {0};
  options.flags = flags_of(argv[1], &options.owner);
  options.owner.kind = COPY_OWNERS_KEEP;
  struct copy_pack *pack = copy_pack_open(argv[2], argv[3], &options);
  if (pack == NULL) return say(&(struct copy_failure){.code = ENOMEM, .text = "no memory"});
  int code = 1; /* nobody reads any more */
  for (;;) {
    uint64_t left;
    int fd = copy_pack_file(pack, &left);
    int64_t sent = fd >= 0 && left >= PIECE ? send_out(fd, left) : 0;
    if (sent > 0) {
      copy_pack_sent(pack, (uint64_t)sent);
      continue;
    }
    if (sent == -EPIPE) break;
    int64_t got = copy_pack_read(pack, buffer, sizeof buffer);
    if (got < 0) code = say(copy_pack_failure(pack));
    if (got == 0) code = say_done(copy_pack_entries(pack), copy_pack_bytes(pack), copy_pack_skipped(pack));
    if (got <= 0 || put_all(1, buffer, (size_t)got) < 0) break;
  }
  copy_pack_close(pack);
  return code;
}
