/**
 * Checks of a command's options, before anything of it is sent to the box.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { checkCwd, checkEnv } from "./config.ts";
import { capabilitiesOf, rlimitsOf } from "./exec_limits.ts";
import type { ExecOptions } from "./exec_options.ts";
import { ttyOf } from "./exec_tty.ts";
import { checkMs, LONGEST_GRACE_MS, LONGEST_TIMER_MS } from "./times.ts";

/** A command as it is asked for. */
export interface AskedCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly options: ExecOptions;
}

/** Throws `invalid_option` unless the command may be run like this. */
export function checkCommand({ command, args, options }: AskedCommand): void {
  for (const [index, word] of [command, ...args].entries()) {
    const what = index === 0 ? "a program" : `argument ${index}`;
    if (word.includes("\0")) refuse(`Cannot run ${what} with a NUL character in it`);
  }
  const { cwd, env, user, tty, timeoutMs, killAfterMs, rlimits, capabilities } = options;
  checkEnv(env ?? {});
  ttyOf(tty);
  if (typeof tty === "object" && tty.term !== undefined) checkEnv({ TERM: tty.term });
  if (cwd !== undefined) checkCwd(cwd);
  if (user?.includes("\0")) refuse("Cannot run a command as a user with a NUL character in it");
  checkMs("timeoutMs", timeoutMs, 1, LONGEST_TIMER_MS);
  checkMs("killAfterMs", killAfterMs, 0, LONGEST_GRACE_MS);
  if (rlimits) rlimitsOf(rlimits);
  if (capabilities) capabilitiesOf(capabilities);
}

function refuse(message: string): never {
  throw new HutchError("invalid_option", message);
}
