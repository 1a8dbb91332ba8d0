/**
 * A guest's file system that can't be frozen for long.
 *
 * @module
 */

/**
 * A script for a guest's root: `/a` and `/c` are on files of the box's disk, `/b` is on one in `/a`,
 * and waits for it: somebody has frozen that.
 */
export const STICK_DISK = `set -e
disk() {
  mkdir /$2
  truncate -s $3 $4
  mke2fs -q -F $4 >/dev/null 2>&1
  mknod /dev/loop$1 b 7 $1
  losetup /dev/loop$1 $4
  mount -t ext4 /dev/loop$1 /$2
}
disk 0 a 4M /a.img; disk 1 b 2M /a/b.img; disk 2 c 2M /c.img
fsfreeze --freeze /a
echo x > /b/x`;

/** Lets `/b` go on. */
export const FREE_DISK = "fsfreeze --unfreeze /a";
