/**
 * What a box process asks of its own guest, as any client can. The box process loads no encoder.
 *
 * @module
 */
import { makeFrame } from "../guest/codec.ts";
import { BACKGROUND, FrameType, HEADER_SIZE, MAX_MESSAGE } from "../guest/protocol.ts";

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

/** Asks the guest to shut down; resolves when it is gone. */
export async function askToShutDown(socketPath: string): Promise<void> {
  using connection = await Deno.connect({ transport: "unix", path: socketPath });
  const buffer = new Uint8Array(HEADER_SIZE + MAX_MESSAGE);
  await ask(connection, makeFrame(FrameType.OPEN, 1, SHUTDOWN), buffer);
  while (await connection.read(buffer) !== null);
}

/**
 * Waits until the guest answers, however long that takes: a paused one does when it is resumed, and
 * mustn't find a heap of questions. Gives whether it took at most `timeoutMs`; false when the guest
 * ends without an answer. Never rejects.
 */
export async function answers(socketPath: string, timeoutMs: number): Promise<boolean> {
  const from = performance.now();
  try {
    using connection = await Deno.connect({ transport: "unix", path: socketPath });
    const buffer = new Uint8Array(HEADER_SIZE + MAX_MESSAGE);
    await ask(connection, makeFrame(FrameType.OPEN, 1, PING, BACKGROUND), buffer);
    return await connection.read(buffer) !== null && performance.now() - from <= timeoutMs;
  } catch {
    return false;
  }
}

/** Sends a frame once the agent has said hello: then it is there. */
async function ask(connection: Deno.Conn, frame: Uint8Array, buffer: Uint8Array): Promise<void> {
  if (await connection.read(buffer) === null) return;
  for (let at = 0; at < frame.length;) at += await connection.write(frame.subarray(at));
}
