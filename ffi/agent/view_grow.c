#include "view.h"

#include <errno.h>
#include <endian.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fs.h>

/* From the kernel's fs/ext4/ext4.h; there is no header of it for programs. */
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)

#define SUPERBLOCK_AT 1024
#define MAGIC 0xef53
#define MAX_LOG_BLOCK 6 /* 64 KiB */

/* Where the fields of the superblock are. */
enum { BLOCKS_LOW = 4, LOG_BLOCK = 24, MAGIC_AT = 56, INCOMPATIBLE = 96, BLOCKS_HIGH = 336, SUPERBLOCK = 1024 };
#define INCOMPATIBLE_64BIT 0x80

static uint32_t le32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return le32toh(value);
}

/* Blocks that the file system has, and log2 of their size less 10. */
static int read_size(int device, uint64_t *blocks, uint32_t *log_block) {
  uint8_t superblock[SUPERBLOCK];
  if (pread(device, superblock, sizeof superblock, SUPERBLOCK_AT) != sizeof superblock) return -1;
  *log_block = le32(superblock + LOG_BLOCK);
  if ((le32(superblock + MAGIC_AT) & 0xffff) != MAGIC || *log_block > MAX_LOG_BLOCK) {
    errno = EINVAL;
    return -1;
  }
  *blocks = le32(superblock + BLOCKS_LOW);
  if (le32(superblock + INCOMPATIBLE) & INCOMPATIBLE_64BIT) *blocks |= (uint64_t)le32(superblock + BLOCKS_HIGH) << 32;
  return 0;
}

int view_grow(int device, int mounted, uint64_t room, struct failure *failure) {
  uint64_t bytes, blocks;
  uint32_t log_block;
  if (ioctl(device, BLKGETSIZE64, &bytes) < 0 || read_size(device, &blocks, &log_block) < 0) {
    failure_set(failure, FAILURE_FAILED, errno, "read the size of the box's disk: %s", strerror(errno));
    return -1;
  }
  uint64_t wanted = bytes >> (10 + log_block);
  uint64_t step = room >> (10 + log_block);
  if (wanted <= blocks) return 0;
  if (wanted - blocks > step) wanted = blocks + step;
  if (ioctl(mounted, EXT4_IOC_RESIZE_FS, &wanted) == 0) return 0;
  failure_set(failure, FAILURE_FAILED, errno, "grow the box's file system to %llu blocks: %s",
              (unsigned long long)wanted, strerror(errno));
  return -1;
}
