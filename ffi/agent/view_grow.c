#include "view.h"

#include <errno.h>
#include <endian.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <linux/btrfs.h>
#include <linux/fs.h>
#include <linux/magic.h>

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

static int grow_ext4(int device, int mounted, uint64_t bytes, uint64_t room) {
  uint64_t blocks;
  uint32_t log_block;
  if (read_size(device, &blocks, &log_block) < 0) return -1;
  uint64_t wanted = bytes >> (10 + log_block);
  uint64_t step = room >> (10 + log_block);
  if (wanted <= blocks) return 0;
  if (wanted - blocks > step) wanted = blocks + step;
  return ioctl(mounted, EXT4_IOC_RESIZE_FS, &wanted);
}

/* From the kernel's fs/xfs/libxfs/xfs_fs.h; there is no header of it for programs either. */
struct xfs_geometry {
  uint32_t block_size, unused1[6], max_inodes_percent;
  uint64_t blocks, unused2[3];
  uint8_t uuid[16];
  uint32_t unused3[7];
};
struct xfs_growth {
  uint64_t blocks;
  uint32_t max_inodes_percent;
};
#define XFS_IOC_FSGEOMETRY_V1 _IOR('X', 100, struct xfs_geometry)
#define XFS_IOC_FSGROWFSDATA _IOW('X', 110, struct xfs_growth)
#define XFS_MAGIC 0x58465342
_Static_assert(sizeof(struct xfs_geometry) == 112, "as the kernel has it");

static int grow_xfs(int mounted, uint64_t bytes) {
  struct xfs_geometry now;
  if (ioctl(mounted, XFS_IOC_FSGEOMETRY_V1, &now) < 0) return -1;
  if (now.block_size == 0) {
    errno = EINVAL;
    return -1;
  }
  struct xfs_growth wanted = {bytes / now.block_size, now.max_inodes_percent};
  return wanted.blocks <= now.blocks ? 0 : ioctl(mounted, XFS_IOC_FSGROWFSDATA, &wanted);
}

static int grow_btrfs(int mounted) {
  struct btrfs_ioctl_vol_args wanted = {.name = "max"};
  return ioctl(mounted, BTRFS_IOC_RESIZE, &wanted);
}

int view_grow(int device, int mounted, uint64_t room, struct failure *failure) {
  uint64_t bytes;
  struct statfs status;
  int result = -1;
  if (ioctl(device, BLKGETSIZE64, &bytes) == 0 && fstatfs(mounted, &status) == 0) {
    /* The others take no time for it, so they get all of their room at once. */
    if (status.f_type == BTRFS_SUPER_MAGIC) result = grow_btrfs(mounted);
    else if (status.f_type == XFS_MAGIC) result = grow_xfs(mounted, bytes);
    else result = grow_ext4(device, mounted, bytes, room);
  }
  if (result == 0) return 0;
  failure_set(failure, FAILURE_FAILED, errno, "grow the box's file system: %s", strerror(errno));
  return -1;
}
