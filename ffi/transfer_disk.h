/* The transfer disk: a way to the guest beside the channel, between relay and agent alone; clients know
 * nothing of it.
 *
 * An engine whose channel is slow may give the guest another disk, which it can only read: bytes that the
 * relay has. (A virtio-serial port of QEMU's takes 4 KiB at a time from the host.) An agent that has one says
 * TAKEN of 0 after HELLO. From then on the relay may put the bytes of a DATA frame (protocol.h) on that disk,
 * from a multiple of HUTCH_TRANSFER_BLOCK on, and send in the frame's place one with HUTCH_PLACED, whose
 * payload is where they are, how many, and their mark: u32 each (BE). Windows and order are as if it were the
 * frame that it stands for. The agent reads such pieces in their order, and says TAKEN of how many more
 * it has read, whose places are free again. More than there are break the protocol.
 *
 * A mark isn't 0, and is also on the disk (u32, BE), in the sector behind those of the bytes. A guest that goes
 * on from kept memory may have frames in its port that were the other machine's, whose disk it doesn't have:
 * by the mark the agent knows. */
#ifndef HUTCH_TRANSFER_DISK_H
#define HUTCH_TRANSFER_DISK_H

#define HUTCH_TRANSFER_BYTES (4 * 1024 * 1024)
#define HUTCH_TRANSFER_BLOCK 4096
#define HUTCH_PLACED 0x08   /* in the flags of the relay's DATA */
#define HUTCH_PLACED_SIZE 12 /* such a frame's payload */
#define HUTCH_SECTOR 512     /* of the disk's */
#define HUTCH_SECTORS(bytes) (((bytes) + HUTCH_SECTOR - 1) / HUTCH_SECTOR * HUTCH_SECTOR)
#define HUTCH_TAKEN 11      /* a frame's type; agent -> relay, stream 0: u32 (BE) pieces */
/* In the guest's environment, from the kernel's command line: the disk's path. */
#define HUTCH_TRANSFER_VARIABLE "HUTCH_TRANSFER"

#endif
