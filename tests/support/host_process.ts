/**
 * Commands of this machine in the shape of a box's, for tests of what stands on `Box.exec`.
 *
 * @module
 */
import type { ExecOptions } from "../../src/box/exec_options.ts";
import { Execution } from "../../src/box/execution.ts";
import type { ExecProcess } from "../../src/plugin/contract.ts";

/** What was run, in order. */
export interface HostRun {
  readonly command: string;
  readonly args: readonly string[];
  readonly options: ExecOptions;
}

/** A `Box.exec` that runs programs here, and keeps what it was asked for. */
export class HostBox {
  readonly runs: HostRun[] = [];

  /** As `Box.exec`. */
  exec(command: string, args: readonly string[] = [], options: ExecOptions = {}): Execution {
    this.runs.push({ command, args, options });
    return new Execution(command, (signal) => open(command, args, options, signal), options);
  }
}

function open(
  command: string,
  args: readonly string[],
  options: ExecOptions,
  signal: AbortSignal,
): Promise<ExecProcess> {
  signal.throwIfAborted();
  options.signal?.throwIfAborted();
  const stdin = options.stdin !== undefined && options.stdin !== "null";
  const child = new Deno.Command(command, {
    args: [...args],
    cwd: options.cwd ?? "/",
    clearEnv: true,
    env: { PATH: "/bin:/usr/bin", ...options.env },
    stdin: stdin ? "piped" : "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let timedOut = false;
  const timer = options.timeoutMs === undefined ? undefined : setTimeout(() => {
    timedOut = true;
    child.kill("SIGTERM");
  }, options.timeoutMs);
  const status = child.status.then(({ success, code, signal }) => {
    clearTimeout(timer);
    return { success, code, signal, timedOut };
  });
  return Promise.resolve({
    pid: child.pid,
    status,
    ...{ stdin: stdin ? child.stdin : new WritableStream(), stdout: child.stdout },
    stderr: child.stderr,
    kill: (name) => child.kill(name),
    async close() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      await status;
      if (stdin) await child.stdin.abort().catch(() => {});
      await child.stdout.cancel().catch(() => {});
      await child.stderr.cancel().catch(() => {});
    },
  });
}
