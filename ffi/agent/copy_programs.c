/* The agent's programs `unpack` and `pack`. What they move is in the ring; large files go between it and
 * the disk without a way through the page cache. Emulated, a page there costs more than the whole way
 * from the host, and a copy would push out what the box's own programs have in it. */
#define _GNU_SOURCE 1
#include "copy/copy.h"
#include "copy_programs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define PIECE (128u * 1024)   /* by hand, at most */
/* To or from the disk at once. Emulated, the rarer the better; the rest of the ring fills meanwhile. */
#define DIRECT (1024u * 1024)
#define BLOCK 4096u           /* of which direct pieces are whole ones */

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

static bool set_direct(int fd, bool direct)
{
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

/* Whether the file goes on directly. Other file systems than these have no disk, or ideas of their own. */
static bool begin_direct(int fd)
{
  struct statfs status;
  off_t at = lseek(fd, 0, SEEK_CUR);
  if (at < 0 || at % BLOCK != 0 || fstatfs(fd, &status) < 0) return false;
  if (status.f_type != EXT4_SUPER_MAGIC && status.f_type != XFS_SUPER_MAGIC) return false;
  return set_direct(fd, true);
}

/* Writes a large file's whole blocks. What is left of it, or can't be written, is for writing by hand,
 * which also says why. */
static bool unpack_direct(struct copy_unpack *unpack, struct ring_end *in)
{
  uint64_t left;
  int fd = copy_unpack_file(unpack, &left);
  if (fd < 0 || left < COPY_LARGE || !begin_direct(fd)) return true;
  bool heard = true;
  while (heard && left >= BLOCK) {
    size_t part = left < DIRECT ? (size_t)(left - left % BLOCK) : DIRECT;
    ring_wait(in, part);
    if (in->count < part) break;
    ssize_t put = write(fd, ring_here(in), part);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) break;
    copy_unpack_moved(unpack, (uint64_t)put);
    left -= (uint64_t)put;
    heard = ring_pass(in, (size_t)put);
  }
  set_direct(fd, false);
  return heard;
}

int unpack_main(int argc, char **argv, uint8_t *ring)
{
  if (argc != 4) return say_usage();
  struct ring_end in = {.ring = ring};
  struct copy_unpack_options options = {0};
  options.flags = flags_of(argv[1], &options.owner) | COPY_STOP_LARGE;
  struct copy_unpack *unpack = copy_unpack_open(argv[2], argv[3], &options);
  if (unpack == NULL) return say(&(struct copy_failure){.code = ENOMEM, .text = "no memory"});
  signal(SIGPIPE, SIG_IGN); /* there is something to tidy up */
  int64_t result = 0;
  while (result >= 0 && unpack_direct(unpack, &in)) {
    ring_wait(&in, 1);
    if (in.count == 0) break;
    result = copy_unpack_push(unpack, ring_here(&in), in.count < PIECE ? in.count : PIECE);
    if (result > 0 && !ring_pass(&in, (size_t)result)) break;
  }
  if (result >= 0) result = copy_unpack_finish(unpack);
  int code = result < 0 ? say(copy_unpack_failure(unpack))
                        : say_done(copy_unpack_entries(unpack), copy_unpack_bytes(unpack), 0);
  copy_unpack_close(unpack);
  return code;
}

/* Reads a large file to its end, or up to where that doesn't work. False: nobody listens any more. */
static bool pack_direct(struct copy_pack *pack, struct ring_end *out)
{
  uint64_t left;
  int fd = copy_pack_file(pack, &left);
  if (fd < 0 || left < COPY_LARGE || !begin_direct(fd)) return true;
  while (left > 0) {
    size_t part = left < DIRECT ? (size_t)(left + BLOCK - 1) & ~(size_t)(BLOCK - 1) : DIRECT;
    ring_wait(out, part);
    if (out->count < part) return false;
    ssize_t got = read(fd, ring_here(out), part);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    size_t taken = (uint64_t)got < left ? (size_t)got : (size_t)left; /* it may have grown */
    copy_pack_sent(pack, taken);
    left -= taken;
    if (!ring_pass(out, taken)) return false;
    if (taken % BLOCK != 0) break;
  }
  set_direct(fd, false);
  return true;
}

int pack_main(int argc, char **argv, uint8_t *ring)
{
  if (argc != 4) return say_usage();
  struct ring_end out = {.ring = ring, .count = RING_BYTES};
  struct copy_pack_options options = {0};
  options.flags = flags_of(argv[1], &options.owner);
  options.owner.kind = COPY_OWNERS_KEEP;
  struct copy_pack *pack = copy_pack_open(argv[2], argv[3], &options);
  if (pack == NULL) return say(&(struct copy_failure){.code = ENOMEM, .text = "no memory"});
  int code = 1; /* nobody reads any more */
  while (pack_direct(pack, &out)) {
    ring_wait(&out, PIECE);
    if (out.count < PIECE) break;
    int64_t got = copy_pack_read(pack, ring_here(&out), PIECE);
    if (got < 0) code = say(copy_pack_failure(pack));
    if (got == 0) code = say_done(copy_pack_entries(pack), copy_pack_bytes(pack), copy_pack_skipped(pack));
    if (got <= 0 || !ring_pass(&out, (size_t)got)) break;
  }
  copy_pack_close(pack);
  return code;
}
