/**
 * The constants of the channel's wire format, as `ffi/protocol.h` has them (a test compares the
 * two). That header describes the format and its rules.
 *
 * @module
 */

/** Version that both ends must speak. */
export const PROTOCOL_VERSION = 4;
/** Bytes before each payload: `u32 length (BE) · u32 stream (BE) · u8 type · u8 flags`. */
export const HEADER_SIZE = 10;
/** Largest payload of a DATA frame, in bytes. */
export const MAX_PAYLOAD = 256 * 1024;
/** Largest CBOR payload, in bytes. */
export const MAX_MESSAGE = 64 * 1024;
/** Payload bytes that may be under way per stream and channel. */
export const WINDOW = 1024 * 1024;
/** The same of a wide stream. */
export const WIDE_WINDOW = 4 * 1024 * 1024;
/** Streams open at once in one guest. */
export const MAX_STREAMS = 1024;
/** Name of the virtio-serial port. */
export const PORT_NAME = "hutch.agent";
/** Tag of the virtio-fs device with the host's files. */
export const SHARES_TAG = "hutch";

/** Frame types. */
export const FrameType = {
  HELLO: 1,
  OPEN: 2,
  REPLY: 3,
  ERROR: 4,
  DATA: 5,
  CREDIT: 6,
  CONTROL: 7,
  EXIT: 8,
  CLOSE: 9,
  GOODBYE: 10,
} as const;

/** Channels of a stream, in the low bits of DATA's and CREDIT's flags. */
export const Channel = { STDIN: 0, STDOUT: 1, STDERR: 2 } as const;
/** The bits of `flags` that hold the channel. */
export const CHANNEL_MASK = 0x03;
/** Bit of DATA's `flags`: no more bytes on this channel. */
export const END = 0x80;
/**
 * Bit of a client's OPEN's `flags`, for the relay alone: what is asked for doesn't count as
 * activity of the box.
 */
export const BACKGROUND = 0x40;
/**
 * Bit of a client's OPEN's `flags`: the box process answers it, about commands that it holds. The
 * payload is as `held_messages.ts` says.
 */
export const HELD = 0x20;
/**
 * Bit of GOODBYE's `flags`, which the relay sets: there is no other client, and no command was ever held.
 * Nobody else misses anything if the machine ends now.
 */
export const ALONE = 0x01;
/** Bit of OPEN's `flags`: the stream is a copy's, whose windows are wide. */
export const WIDE = 0x10;
