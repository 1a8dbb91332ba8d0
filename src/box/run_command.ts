/**
 * A command's way into a box: checks, a running box, the plugins' hooks, the guest.
 *
 * @module
 */
import type { GuestClient } from "../guest/client.ts";
import type { ExecRequest } from "../guest/messages.ts";
import type { ExecInput, ExecProcess } from "../plugin/contract.ts";
import type { Box } from "./box.ts";
import type { BoxContext } from "./context.ts";
import { checkCommand } from "./exec_check.ts";
import { capabilitiesOf, rlimitsOf } from "./exec_limits.ts";
import type { ExecOptions } from "./exec_options.ts";
import type { BoxConfig } from "./options.ts";
import { terminalEnv, ttyOf } from "./exec_tty.ts";
import { throwIfGivenUp } from "./giving_up.ts";
import { guestProcess } from "./guest_process.ts";
import { watchExec } from "./watch_exec.ts";

/** Default of {@link ExecOptions.killAfterMs}. */
const KILL_AFTER_MS = 5000;

/** What {@link runCommand} works with. */
export interface CommandPort {
  /** Aborted when nobody wants the command any more. */
  readonly givingUp: AbortSignal;
  /** Connects to the guest; boots the box first if it doesn't run. */
  readonly guest: (signal: AbortSignal) => Promise<GuestClient>;
  /** Its id, should it be detached. */
  readonly id: string;
}

/**
 * Runs a command in a box, with the plugins' hooks around it.
 *
 * @throws HutchError `invalid_option`, what a start throws, and the guest's reason.
 */
export async function runCommand(
  context: BoxContext,
  box: Box,
  asked: ExecInput,
  { givingUp, guest, id }: CommandPort,
): Promise<ExecProcess> {
  const { options } = asked;
  const signal = options.signal ? AbortSignal.any([givingUp, options.signal]) : givingUp;
  checkCommand(asked);
  throwIfGivenUp(signal, `run ${JSON.stringify(asked.command)}`);
  if (context.plugins.hasHook("exec")) await guest(signal); // hooks find a box that runs
  return await context.plugins.run("exec", asked, { signal, box }, async (input) => {
    const { exec } = box.config;
    checkCommand(input); // a plugin may have changed it
    const watch = watchExec(context, box.config, {
      argv: [input.command, ...input.args],
      user: input.options.user ?? exec.user,
      ...input.options.detached ? { detached: id } : {},
    });
    try {
      const client = await guest(signal);
      const process = await open(client, box, { input, id, signal });
      watch.started(process.status);
      return process;
    } catch (error) {
      watch.failed(error);
      throw error;
    }
  });
}

function open(
  client: GuestClient,
  { config }: Box,
  { input, id, signal }: {
    readonly input: ExecInput;
    readonly id: string;
    readonly signal: AbortSignal;
  },
): Promise<ExecProcess> {
  const request = execRequest(config, input);
  const tty = Boolean(input.options.tty);
  return guestProcess(
    input.options.detached
      ? client.hold({ id, attach: true, tty }, request, { signal })
      : client.open(request, { signal }),
    { tty },
  );
}

/** A command as the guest is asked for it. */
export function execRequest(
  { exec, hostname }: Pick<BoxConfig, "exec" | "hostname">,
  { command, args, options }: ExecInput,
): ExecRequest {
  const boxEnv = options.clearEnv ? {} : { HOSTNAME: hostname, ...exec.env };
  const { tty } = options;
  const own = options.env ?? {};
  const env = tty ? terminalEnv(tty, { box: boxEnv, own }) : { ...boxEnv, ...own };
  return {
    op: "exec",
    argv: [command, ...args],
    env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    cwd: options.cwd ?? exec.cwd,
    user: options.user ?? exec.user,
    stdin: options.stdin !== undefined && options.stdin !== "null",
    ...limitsOf(options),
  };
}

/** What the agent is told beside: a key that isn't there changes nothing. */
function limitsOf(
  { tty, timeoutMs, killAfterMs = KILL_AFTER_MS, ...options }: ExecOptions,
): Partial<ExecRequest> {
  const { rlimits, capabilities, noNewPrivileges } = options;
  const size = ttyOf(tty);
  return {
    ...size ? { tty: size } : {},
    ...timeoutMs === undefined
      ? {}
      : { timeoutMs: Math.ceil(timeoutMs), graceMs: Math.ceil(killAfterMs) },
    ...rlimits ? { rlimits: rlimitsOf(rlimits) } : {},
    ...capabilities ? capabilitiesOf(capabilities) : {},
    ...noNewPrivileges ? { noNewPrivileges } : {},
  };
}
