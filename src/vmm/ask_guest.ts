/**
 * What a box process asks of its own guest. The box process loads no encoder.
 *
 * @module
 */
import type { GuestLink } from "./guest_link.ts";

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
export async function askToShutDown(guest: GuestLink): Promise<void> {
  await guest.ask(SHUTDOWN, { background: false });
  await guest.ended;
}

/**
 * Waits until the guest answers, however long that takes: a paused one does when it is resumed, and
 * mustn't find a heap of questions. Gives whether it took at most `timeoutMs`; false when the guest
 * ends without an answer. Never rejects.
 */
export async function answers(guest: GuestLink, timeoutMs: number): Promise<boolean> {
  const from = performance.now();
  const answered = await guest.ask(PING, { background: true });
  return answered && performance.now() - from <= timeoutMs;
}
