/**
 * A command that goes on whoever comes and goes: a detached execution, or the box's main command.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { GuestClient } from "../guest/client.ts";
import { failureError } from "../guest/failures.ts";
import { type HeldAttach, type HeldEntry, isHeldId } from "../guest/held_messages.ts";
import type { ExecReply } from "../guest/messages.ts";
import type { GuestStream } from "../guest/stream.ts";
import { readExit } from "../guest/validate.ts";
import type { ExecOptions, ExecStatus } from "./exec_options.ts";
import { Execution } from "./execution.ts";
import { guestProcess, statusOf } from "./guest_process.ts";
import type { LogEntry, LogsOptions } from "./logs.ts";

/** A command that the box holds, as `Box.executions` lists it. */
export interface ExecutionInfo {
  /** 12 hexadecimal digits; `main` for the main command. */
  readonly id: string;
  /** Its command line; a long one is cut short. */
  readonly command: readonly string[];
  /** Whether it has a terminal; then the box's log has none of it. */
  readonly tty: boolean;
  /** ISO 8601. */
  readonly startedAt: string;
  /** ISO 8601; null while it runs. */
  readonly endedAt: string | null;
  /** How it ended; null while it runs. */
  readonly status: ExecStatus | null;
}

/** Options of {@link BoxExecution.attach}. */
export interface AttachOptions extends Pick<ExecOptions, "signal" | "stdin" | "maxOutputBytes"> {
  /** Whether what is kept of its output comes first, up to 256 KiB of each stream. @default {true} */
  readonly replay?: boolean;
  /** Whether it is a command with a terminal, which can be resized. @default {false} */
  readonly tty?: boolean;
}

/** What a {@link BoxExecution} needs of its box. */
export interface BoxExecutionPort {
  /** Connects to the box, which isn't started for that. */
  readonly guest: (signal?: AbortSignal) => Promise<GuestClient>;
  readonly logs: (options: LogsOptions) => AsyncGenerator<LogEntry, void>;
  /** How it ended, as far as that is known of a box that doesn't run. */
  readonly ended?: () => Promise<ExecStatus | undefined>;
  /** Told how it ended. */
  readonly seen: (status: ExecStatus) => void;
}

/**
 * A command that the box's own process holds. Any number of programs may join it; the first to write
 * to its standard input has that to itself until it lets go.
 *
 * A command waits for those who are joined and read, as any command waits for its reader. Somebody
 * who takes nothing for 3 s isn't waited for any more before they caught up: what they then miss is
 * shown as `[hutch: N bytes were left out here]`. How a command ended is kept until the box stops,
 * of the newest 128.
 *
 * @example
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * const { id = "", started } = box.exec("sh", ["-c", "echo working; sleep 1"], { detached: true });
 * await started;
 * // … and in the same or another program, now or later:
 * const { code, stdout } = await box.execution(id).attach();
 * console.log(code, stdout); // 0 "working\n"
 * ```
 */
export class BoxExecution {
  /** As in {@link ExecutionInfo}. */
  readonly id: string;
  readonly #port: BoxExecutionPort;

  /** For boxes. */
  constructor(id: string, port: BoxExecutionPort) {
    this.id = id;
    this.#port = port;
  }

  /**
   * Joins it: what is kept of its output, then what it prints from now on, then its end. Disposing of
   * what this gives lets go of it; the command goes on.
   *
   * @throws HutchError, where the result is awaited or read: `execution_not_found`, `box_state` when
   * the box doesn't run.
   */
  attach(options: AttachOptions = {}): Execution {
    const { replay = true, tty = false, signal: asked, ...streams } = options;
    return new Execution(
      this.id,
      async (letGo) => {
        const signal = asked ? AbortSignal.any([letGo, asked]) : letGo;
        const stream = await this.#join({ output: true, replay }, { signal });
        const process = await guestProcess(stream, { tty });
        process.status.then(this.#port.seen, () => {});
        return process;
      },
      streams,
      this.id,
    );
  }

  /**
   * Waits for its end.
   *
   * @throws HutchError as {@link BoxExecution.attach}; for the main command of a box that doesn't run
   * only when nobody knows how it ended.
   */
  async status(options: { readonly signal?: AbortSignal } = {}): Promise<ExecStatus> {
    try {
      await using stream = await this.#join({ output: false, replay: false }, options);
      const status = statusOf(await stream.exit);
      this.#port.seen(status);
      return status;
    } catch (error) {
      const known = isGone(error) ? await this.#port.ended?.() : undefined;
      if (known) return known;
      throw error;
    }
  }

  /**
   * Sends a signal to the command and its children that share its process group.
   *
   * @param signal Name of the signal. @default {"SIGTERM"}
   * @throws HutchError as {@link BoxExecution.attach}.
   */
  async kill(signal: Deno.Signal = "SIGTERM"): Promise<void> {
    const stream = await this.#join({ output: false, replay: false });
    const process = await guestProcess(stream, { tty: false });
    await process.kill(signal);
    await process.close();
  }

  /**
   * What is known about it now.
   *
   * @throws HutchError as {@link BoxExecution.attach}.
   */
  async info(): Promise<ExecutionInfo> {
    const client = await this.#port.guest();
    const found = (await client.held()).find(({ id }) => id === this.id);
    if (found) return executionInfo(found);
    throw new HutchError(
      "execution_not_found",
      `Cannot find execution ${JSON.stringify(this.id)}: the box holds none of this id`,
    );
  }

  /** What the box's log has of it, also when the box doesn't run; see `Box.logs`. */
  logs(options: Omit<LogsOptions, "source"> = {}): AsyncGenerator<LogEntry, void> {
    return this.#port.logs({ ...options, source: this.id });
  }

  async #join(
    how: Pick<HeldAttach, "output" | "replay">,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<GuestStream<ExecReply>> {
    const client = await this.#port.guest(options.signal);
    const ask = { id: this.id, ...how };
    if (isHeldId(this.id)) return client.attach(ask, options);
    // The box process ends the connection of one who asks for what can't be an id, and all else that
    // this program does in the box goes over the same one.
    const message = "there is none of this id";
    const failure = { kind: "no_such_execution", errno: 0, message } as const;
    throw failureError({ op: "attach", ...ask }, failure);
  }
}

/** As programs see it. */
export function executionInfo(entry: HeldEntry): ExecutionInfo {
  const { id, command, tty, startedMs, endedMs, exit } = entry;
  return {
    id,
    command,
    tty,
    startedAt: new Date(startedMs).toISOString(),
    endedAt: endedMs === null ? null : new Date(endedMs).toISOString(),
    status: exit === null ? null : statusOf(readExit(Uint8Array.fromBase64(exit))),
  };
}

function isGone(error: unknown): boolean {
  return error instanceof HutchError &&
    (error.code === "connection_lost" || error.code === "box_state");
}
