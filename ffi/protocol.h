/* The channel's wire format, shared in meaning with src/guest/protocol.ts (a test compares them).
 *
 * One byte stream between box process and agent (a virtio-serial port), and the same bytes
 * between a client and the box process (unix socket). It carries frames:
 *
 *   u32 length (BE) | u32 stream (BE) | u8 type | u8 flags | payload of `length` bytes
 *
 * `length` counts the payload alone. Stream 0 is the connection itself; every request has a
 * stream of its own, opened by the host with a number that is not in use. The relay in the box
 * process rewrites stream numbers (each client counts its own from 1) and decodes no payload.
 *
 * Life of a stream:
 *   host  OPEN {op: "...", ...}                      CBOR map, see messages.ts
 *   agent REPLY {...}  or  ERROR {...}               exactly one of them, first
 *   both  DATA, CREDIT; host CONTROL                 only for streaming requests (exec)
 *   agent EXIT {...}                                 exec only: after all that was in the pipes
 *                                                    when the command ended
 *   agent CLOSE                                      last frame; the number is free again
 *   host  CLOSE                                      the host gives up: the agent kills what the
 *                                                    stream runs and answers CLOSE
 * After ERROR the agent sends CLOSE. A host that sent CLOSE waits for the agent's CLOSE before it
 * uses the number again; frames that arrive in between are dropped.
 *
 * Processes that the command left behind may still hold its pipes: their DATA may follow EXIT, and
 * the agent sends CLOSE once both outputs ended. A host that doesn't want it sends CLOSE after EXIT;
 * that drops the pipes and kills nothing. An empty DATA frame of the agent with flags HUTCH_STDIN |
 * HUTCH_END says that the command closed its stdin.
 *
 * A command with a terminal (`tty` in its OPEN) has it as all of its three; what it shows comes on
 * HUTCH_STDOUT, and HUTCH_STDERR ends at once. HUTCH_END of its stdin types the terminal's end-of-file
 * character, if it is set to read lines. When the command ends, the kernel hangs the terminal up: EXIT
 * follows what was left in it, 16 KiB of that at most if others go on writing.
 *
 * The agent ignores every frame but OPEN on a stream that it doesn't have: a host's CLOSE may cross
 * the agent's. So the agent never sends a frame on a stream that isn't open, and exactly one CLOSE
 * per OPEN. The relay ends the box for any other order of the agent's frames: REPLY is first and
 * once; ERROR is once (after REPLY only if the stream broke, as by window_exceeded); EXIT is once
 * and after REPLY; no DATA before REPLY, after ERROR, or after HUTCH_END on its channel (CREDIT may
 * come until CLOSE). Its flags are 0 on every type but DATA and CREDIT.
 *
 * Credit: each stream has three channels. A sender may have at most HUTCH_WINDOW payload bytes (of a
 * wide stream HUTCH_WIDE_WINDOW) of a channel under way; CREDIT with a u32 (BE) payload and the channel in `flags` gives bytes back
 * once the receiver has consumed them. Nobody credits 0 bytes, or more than are under way, and no
 * DATA is empty unless it carries HUTCH_END. Exceeding the window is a protocol error of that stream
 * (host to agent: ERROR + kill; agent to host: the box is told to go away).
 */
#ifndef HUTCH_PROTOCOL_H
#define HUTCH_PROTOCOL_H

#define HUTCH_PROTOCOL_VERSION 4
#define HUTCH_HEADER_SIZE 10
#define HUTCH_MAX_PAYLOAD (256 * 1024)     /* of DATA; a larger length is a protocol error */
#define HUTCH_MAX_MESSAGE (64 * 1024)      /* of CBOR payloads */
#define HUTCH_WINDOW (1024 * 1024)         /* bytes under way per stream and channel */
#define HUTCH_WIDE_WINDOW (4 * 1024 * 1024) /* the same of a stream that is wide */
#define HUTCH_MAX_STREAMS 1024             /* open at once in one guest */
#define HUTCH_SHARES_TAG "hutch"           /* tag of the virtio-fs device with the host's files */
#define HUTCH_PORT_NAME "hutch.agent"      /* name of the virtio-serial port */

enum hutch_frame_type {
  HUTCH_HELLO = 1,   /* agent -> host, stream 0, first frame: CBOR {protocol, agent, kernel, bootMs} */
  HUTCH_OPEN = 2,    /* host -> agent: CBOR {op, ...} */
  HUTCH_REPLY = 3,   /* agent -> host: CBOR map */
  HUTCH_ERROR = 4,   /* agent -> host: CBOR {kind, errno, message} */
  HUTCH_DATA = 5,    /* both: bytes; flags = channel | HUTCH_END */
  HUTCH_CREDIT = 6,  /* both: u32 (BE) bytes; flags = channel */
  HUTCH_CONTROL = 7, /* host -> agent: CBOR {op: "signal", signal} | {op: "resize", tty: [rows, columns]} */
  HUTCH_EXIT = 8,    /* agent -> host: CBOR {code, signal, timedOut} (one of the first two null) */
  HUTCH_CLOSE = 9,   /* both: empty */
  HUTCH_GOODBYE = 10 /* agent -> host, stream 0, the last frame: the guest is about to end; CBOR
                      {reason, message}. The host closes the channel, and the agent waits for it */
  /* 11 is TAKEN of transfer_disk.h. */
};

/* Channels of an exec stream, in the low bits of DATA's and CREDIT's flags. */
enum hutch_channel { HUTCH_STDIN = 0, HUTCH_STDOUT = 1, HUTCH_STDERR = 2 };
#define HUTCH_CHANNEL_MASK 0x03
#define HUTCH_END 0x80 /* no more bytes on this channel (payload may be empty) */
#define HUTCH_BACKGROUND 0x40 /* a client's OPEN: no activity of the box; the relay takes it off */
#define HUTCH_WIDE 0x10       /* an OPEN: the stream is a copy's, whose windows are wide. Emulated, each change
                               * between those who take part costs more than what a window holds */
#define HUTCH_HELD 0x20       /* a client's OPEN: for the relay itself, which holds detached commands */
#define HUTCH_ALONE 0x01      /* a GOODBYE, by the relay: there is no other client, and no command was ever held.
                               * Nobody else misses anything if the machine ends now */

#endif
