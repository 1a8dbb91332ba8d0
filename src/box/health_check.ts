/**
 * One look at a box's health: the agent is asked, or a command runs in the box.
 *
 * A check is the box's own affair: no hook and no event of commands is told of it, it isn't counted,
 * and it doesn't keep the box from being idle. What takes too long is killed, with its process group.
 *
 * @module
 */
import { errorText } from "../errors.ts";
import type { GuestClient } from "../guest/client.ts";
import type { CheckResult } from "./health.ts";
import type { BoxConfig, HealthCheck } from "./options.ts";
import { signalName } from "./signals.ts";
import { LONGEST_TIMER_MS } from "./times.ts";

/** What is kept of a command's output, in bytes of each stream. */
const TAIL_BYTES = 2_048;

/** Looks once. Never rejects: what goes wrong is a failed check. */
export async function checkHealth(
  client: GuestClient,
  config: BoxConfig,
  { check, signal }: { readonly check: Required<HealthCheck>; readonly signal: AbortSignal },
): Promise<CheckResult> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), Math.min(check.timeoutMs, LONGEST_TIMER_MS));
  const giveUp = AbortSignal.any([late.signal, signal]);
  try {
    if (check.command.length > 0) return await runCommand(client, config, { check, giveUp });
    await client.request({ op: "ping" }, { signal: giveUp });
    return { ok: true };
  } catch (error) {
    const message = late.signal.aborted
      ? `the agent did not answer within ${check.timeoutMs} ms`
      : errorText(error);
    return { ok: false, message };
  } finally {
    clearTimeout(timer);
  }
}

async function runCommand(
  client: GuestClient,
  { exec, hostname }: BoxConfig,
  { check, giveUp }: { readonly check: Required<HealthCheck>; readonly giveUp: AbortSignal },
): Promise<CheckResult> {
  const env = { HOSTNAME: hostname, ...exec.env };
  await using stream = client.open({
    op: "exec",
    argv: check.command,
    env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    cwd: exec.cwd,
    user: exec.user,
    stdin: false,
  }, { background: true });
  const output = Promise.all([tailOf(stream.stdout), tailOf(stream.stderr)]);
  const { promise: late, resolve } = Promise.withResolvers<"late">();
  giveUp.addEventListener("abort", () => resolve("late"), { once: true });
  if (giveUp.aborted) resolve("late");
  const exit = await Promise.race([stream.exit, late]);
  if (exit === "late") {
    await stream.close(); // the agent kills it; a next check may only come after that
    const said = textOf(await output);
    return { ok: false, message: `it did not end within ${check.timeoutMs} ms${said}` };
  }
  if (exit.code === 0) return { ok: true };
  const how = exit.code === null ? `signal ${signalName(exit.signal ?? "")}` : `code ${exit.code}`;
  return { ok: false, message: `it ended with ${how}${textOf(await output)}` };
}

/** The last bytes of a stream; what it had before it broke, if it does. */
async function tailOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Uint8Array> {
  let tail = new Uint8Array(0);
  try {
    for await (const chunk of stream) {
      const whole = new Uint8Array(tail.length + Math.min(chunk.length, TAIL_BYTES));
      whole.set(tail);
      whole.set(chunk.subarray(-TAIL_BYTES), tail.length);
      tail = whole.slice(-TAIL_BYTES);
    }
  } catch {
    // The command was given up, or the box is gone.
  }
  return tail;
}

/** What a command said, on one line and without what would upset a terminal. */
function textOf(outputs: readonly Uint8Array[]): string {
  const text = outputs.map((bytes) => new TextDecoder().decode(bytes)).join("\n")
    // deno-lint-ignore no-control-regex -- a guest may say anything
    .replaceAll(/[\x00-\x1f\x7f-\x9f]+/g, " ").trim();
  return text === "" ? "" : `: ${text}`;
}
