/**
 * A command in a box on the user's own streams, a terminal or not.
 *
 * @module
 */
import { TerminalMode } from "../../ffi/terminal.ts";
import type { ExecOptions, ExecStatus, TerminalSize } from "../box/exec_options.ts";
import type { Execution } from "../box/execution.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import { DetachableInput, parseDetachKeys, USUAL_DETACH_KEYS } from "./detach_keys.ts";
import { type ByteSource, type CliIo, print } from "./io.ts";
import { RawTerminal } from "./raw_terminal.ts";
import { relay } from "./relay.ts";
import { Interrupted } from "./report.ts";
import { ScreenModes } from "./screen_modes.ts";
import { configuredDetachKeys } from "./session.ts";
import { ENDING, pause, type SignalRelay, type SignalSource } from "./signals.ts";

/** Options that {@link defineAttachFlags} declares. */
export interface AttachFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly detachKeys?: string;
}

/** How a command is attached. */
export interface Attachment {
  /** Whether it reads our standard input. */
  readonly stdin: boolean;
  /** Whether it has a terminal. */
  readonly tty: boolean;
  /** Bytes that are typed to let go of it; none where nothing is typed. */
  readonly keys: readonly number[];
}

/** What a command is attached with. */
export interface AttachOptions extends Attachment {
  readonly io: CliIo;
  readonly signals: SignalRelay;
  /** Ends what ignores everything else. */
  readonly force: () => Promise<void>;
  /** The keys were typed: whether to let go of it, or else what to tell the user. */
  readonly detach: () => true | string;
  /** @default {Deno} */
  readonly source?: SignalSource;
}

/** How long a command may take to end once its terminal is gone, in `ms`. */
const HANG_UP_MS = 1000;

/** Declares {@link AttachFlags}. */
export function defineAttachFlags(command: Command): void {
  command
    .option("-i, --interactive", "connect standard input")
    .option("-t, --tty", "give the command a terminal")
    .option(
      "--detach-keys <KEYS>",
      `keys that let go of a command with -it (default: ${USUAL_DETACH_KEYS}; "" is none)`,
    );
}

/**
 * How the flags say that the command is attached.
 *
 * @throws HutchError `invalid_option` for a terminal where there is none.
 */
export async function attachmentOf(
  { interactive: stdin = false, tty = false, detachKeys }: AttachFlags,
  { io, globals }: Pick<Invocation, "io" | "globals">,
): Promise<Attachment> {
  if (!stdin || !tty) return { stdin, tty, keys: [] };
  if (io.stdin.isTerminal?.() !== true) {
    throw new HutchError("invalid_option", "Cannot use -it: the input device is not a TTY", {
      hint: "leave out -t where hutch isn't used from a terminal",
    });
  }
  const keys = detachKeys !== undefined
    ? parseDetachKeys(detachKeys, "--detach-keys")
    : await configuredDetachKeys(globals);
  return { stdin, tty, keys };
}

/** The options of a command that is to be attached so. */
export function attachedExec(
  { stdin, tty }: Attachment,
  io: CliIo,
): Pick<ExecOptions, "stdin" | "tty"> {
  return { stdin: stdin ? "piped" : "null", ...tty ? { tty: sizeOf(io) ?? true } : {} };
}

/**
 * Passes bytes both ways until the command ended and all that it printed is written, or the user let
 * go of it. On a terminal each key is the command's: signals from elsewhere hang its terminal up.
 *
 * @throws {Interrupted} after such a signal; what {@link relay} throws.
 */
export async function attach(
  execution: Execution,
  options: AttachOptions,
): Promise<ExecStatus | "detached"> {
  const { io, signals, stdin, tty, force } = options;
  const kill = (signal: Deno.Signal) => execution.kill(signal);
  signals.forwardTo({ kill, force });
  if (!tty) return await relay(execution, io, { stdin });
  await execution.started; // what fails before is told on the terminal as it is
  const resize = () => {
    const size = sizeOf(io);
    if (size) execution.resize(size).catch(() => {});
  };
  const source = options.source ?? Deno;
  source.addSignalListener("SIGWINCH", resize);
  resize(); // it may have changed while the command was started
  try {
    if (!stdin) return await relay(execution, io, { stdin });
    return await onTerminal(execution, options, resize);
  } finally {
    source.removeSignalListener("SIGWINCH", resize);
  }
}

async function onTerminal(
  execution: Execution,
  { io, signals, keys, force, detach, source }: AttachOptions,
  resize: () => void,
): Promise<ExecStatus | "detached"> {
  const detached = Promise.withResolvers<"detached">();
  const hungUp = Promise.withResolvers<never>();
  signals.forwardTo({
    force,
    async kill(signal) {
      if (!ENDING.includes(signal)) return await execution.kill(signal);
      await execution.kill("SIGHUP").catch(() => {});
      const over = new AbortController();
      execution.status.finally(() => over.abort()).catch(() => {});
      await pause(HANG_UP_MS, over.signal);
      hungUp.reject(new Interrupted(signal));
    },
  });
  const typed = () => {
    const answer = detach();
    if (answer === true) detached.resolve("detached");
    else void print(io.stderr, `\r\n${answer}\r\n`).catch(() => {});
    return answer === true;
  };
  const modes = new ScreenModes();
  const stdin: ByteSource = new DetachableInput(io.stdin, keys, typed);
  const stdout = {
    isTerminal: () => io.stdout.isTerminal(),
    async write(bytes: Uint8Array) {
      const count = await io.stdout.write(bytes);
      modes.see(bytes.subarray(0, count));
      return count;
    },
  };
  let orderly = false;
  const mode = new TerminalMode(0);
  using _raw = new RawTerminal({
    setRaw: (raw) => mode.setRaw(raw),
    continued: resize,
    ...source ? { source } : {},
  });
  try {
    const end = await Promise.race([
      relay(execution, { ...io, stdin, stdout }, { stdin: true }),
      detached.promise,
      hungUp.promise,
    ]);
    orderly = end !== "detached" && end.signal === null;
    return end;
  } finally {
    // A program that was cut off, such as an editor, has not tidied up.
    if (!orderly && io.stdout.isTerminal()) await print(io.stdout, modes.undo()).catch(() => {});
  }
}

/** Kills a command at the end of a scope, though its box would go on with it, unless it is over. */
export function endUnless(
  execution: Execution,
): AsyncDisposable & { over: boolean; end(): Promise<void> } {
  return {
    over: false,
    async end() {
      if (!this.over && execution.id !== undefined) await execution.kill("SIGKILL").catch(() => {});
      await execution[Symbol.asyncDispose]();
    },
    [Symbol.asyncDispose]() {
      return this.end();
    },
  };
}

/** The size of the terminal that shows the output, where there is one. */
function sizeOf(io: CliIo): TerminalSize | undefined {
  try {
    const size = io.consoleSize?.();
    return size && size.rows > 0 && size.columns > 0 ? size : undefined;
  } catch {
    return undefined; // no terminal
  }
}
