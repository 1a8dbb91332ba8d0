/**
 * A box's main command: its start, and its end when the box is stopped.
 *
 * @module
 */
import type { GuestClient } from "../guest/client.ts";
import { MAIN } from "../guest/held_messages.ts";
import type { ExecInput } from "../plugin/contract.ts";
import { checkCommand } from "./exec_check.ts";
import type { BoxConfig } from "./options.ts";
import { execRequest } from "./run_command.ts";
import { signalNumber } from "./signals.ts";

/**
 * Starts it; the box process holds it from then on.
 *
 * @throws HutchError the guest's reason, such as `command_not_found`.
 */
export async function startMain(
  config: BoxConfig,
  guest: GuestClient,
  input: ExecInput,
): Promise<{ pid: number }> {
  checkCommand(input); // a plugin may have changed it
  const request = execRequest(config, input);
  const whole = config.init === null ? request : { ...request, user: "0", cwd: "/", init: true };
  const stream = guest.hold({ id: MAIN, attach: false }, whole);
  const { pid } = await stream.reply;
  await stream.closed;
  return { pid };
}

/**
 * Asks it to end by the signal that it wants, and waits for that until `signal` aborts.
 *
 * @returns Whether it has ended; false also where there is no such signal: the guest knows how to
 * ask its first process.
 */
export async function endMain(
  { main, init, stopSignal }: BoxConfig,
  guest: GuestClient,
  signal: AbortSignal,
): Promise<boolean> {
  if (!main || (init !== null && stopSignal === "")) return false;
  await using stream = guest.attach({ id: MAIN, output: false, replay: false }, { signal });
  stream.control({
    op: "signal",
    signal: signalNumber(stopSignal === "" ? "SIGTERM" : stopSignal),
  });
  return await stream.exit.then(() => true, () => false);
}
