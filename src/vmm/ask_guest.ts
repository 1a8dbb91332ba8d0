/**
 * What a box process asks of its own guest, as any client can. The box process loads no encoder.
 *
 * @module
 */
import { makeFrame } from "../guest/codec.ts";
import { BACKGROUND, FrameType, HEADER_SIZE, MAX_MESSAGE } from "../guest/protocol.ts";
import type { RelayConn } from "./relay.ts";

/** `{op: "shutdown", graceMs: 2000}` as CBOR. */
const SHUTDOWN = new Uint8Array([
  0xa2,
  ...[0x62, ...new TextEncoder().encode("op"), 0x68, ...new TextEncoder().encode("shutdown")],
  ...[0x67, ...new TextEncoder().encode("graceMs"), 0x19, 0x07, 0xd0],
]);
/** `{op: "ping"}` as CBOR. */
const PING = new Uint8Array([
  0xa1,
  ...[0x62, ...new TextEncoder().encode("op"), 0x64, ...new TextEncoder().encode("ping")],
]);

/** Asks the guest to shut down; resolves when it is gone. The connection is closed then. */
export async function askToShutDown(connection: RelayConn): Promise<void> {
  try {
    const buffer = new Uint8Array(HEADER_SIZE + MAX_MESSAGE);
    await ask(connection, makeFrame(FrameType.OPEN, 1, SHUTDOWN), buffer);
    while (await connection.read(buffer) !== null);
  } finally {
    connection.close();
  }
}

/**
 * Waits until the guest answers, however long that takes: a paused one does when it is resumed, and
 * mustn't find a heap of questions. Gives whether it took at most `timeoutMs`; false when the guest
 * ends without an answer. Never rejects; the connection is closed then.
 */
export async function answers(connection: RelayConn, timeoutMs: number): Promise<boolean> {
  const from = performance.now();
  try {
    const buffer = new Uint8Array(HEADER_SIZE + MAX_MESSAGE);
    await ask(connection, makeFrame(FrameType.OPEN, 1, PING, BACKGROUND), buffer);
    return await connection.read(buffer) !== null && performance.now() - from <= timeoutMs;
  } catch {
    return false;
  } finally {
    connection.close();
  }
}

/** Sends a frame once the agent has said hello: then it is there. */
async function ask(connection: RelayConn, frame: Uint8Array, buffer: Uint8Array): Promise<void> {
  if (await connection.read(buffer) === null) return;
  for (let at = 0; at < frame.length;) at += await connection.write(frame.subarray(at));
}
