/**
 * `hutch stop`.
 *
 * @module
 */
import type { Invocation } from "./command.ts";
import { graceOf } from "./grace.ts";
import { eachBox } from "./session.ts";

export { defineGrace as define } from "./grace.ts";

/** Shuts boxes down. */
export async function run(invocation: Invocation): Promise<number> {
  const grace = graceOf(invocation.command);
  return await eachBox(invocation, (box) => box.stop(grace));
}
