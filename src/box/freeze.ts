/**
 * Freezing a guest's file systems, by its agent's program `freeze`.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import type { GuestClient } from "../guest/client.ts";
import type { ExecReply } from "../guest/messages.ts";
import type { GuestStream } from "../guest/stream.ts";

/** How long it may take, in `ms`. */
const FREEZE_MS = 5_000;
/** How long beside an agent may take to say so, in `ms`. */
const ANSWER_MS = 1_000;
/** How long the agent may take to say that they go on, in `ms`. */
const THAW_MS = 10_000;
/** After it the agent thaws whatever it was told, in `ms` of its own clock. */
const LONGEST_MS = 60_000;

/** File systems that stand still. */
export interface FrozenGuest {
  /**
   * Lets them go on.
   *
   * @throws HutchError when they went on by themselves before.
   */
  thaw(): Promise<void>;
}

/** Freezes; or says why that can't be done, and then nothing stays frozen. */
export async function freezeGuest(client: GuestClient): Promise<FrozenGuest | string> {
  const stream = client.open({
    op: "exec",
    builtin: "freeze",
    argv: ["freeze", String(FREEZE_MS), String(LONGEST_MS)],
    env: [],
    cwd: "/",
    user: "",
    stdin: true,
  }, { background: true });
  try {
    const word = await within(firstByte(stream), FREEZE_MS + ANSWER_MS);
    if (word === 0) return { thaw: () => thaw(stream) };
    await stream.close();
    return word === undefined ? `it took longer than ${FREEZE_MS} ms` : problemOf(word);
  } catch (error) {
    await stream.close();
    return errorText(error);
  }
}

async function firstByte(stream: GuestStream<ExecReply>): Promise<number> {
  await stream.reply;
  const reader = stream.stdout.getReader();
  const { value } = await reader.read();
  reader.releaseLock();
  const word = value?.[0];
  if (word === undefined) throw new HutchError("guest_failed", "its agent said nothing");
  return word;
}

async function within(word: Promise<number>, ms: number): Promise<number | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), ms);
  try {
    return await Promise.race([word, late.promise]);
  } finally {
    word.catch(() => {});
    clearTimeout(timer);
  }
}

async function thaw(stream: GuestStream<ExecReply>): Promise<void> {
  try {
    await stream.stdin.close();
    const code = await within(stream.exit.then((exit) => exit.code ?? 1), THAW_MS);
    if (code === undefined) throw new HutchError("guest_failed", "its agent doesn't answer");
    if (code !== 0) throw new HutchError("guest_failed", "they went on by themselves before");
  } finally {
    await stream.close();
  }
}

function problemOf(errno: number): string {
  const known: Readonly<Record<number, string>> = {
    1: "its agent isn't allowed to",
    16: "they are frozen already",
    30: "they are read-only",
    95: "they can't be frozen",
    110: `it took longer than ${FREEZE_MS} ms`,
  };
  return known[errno] ?? `error ${errno}`;
}
