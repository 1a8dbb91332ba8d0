/**
 * A command in the guest, in the shape that plugins and executions see.
 *
 * @module
 */
import type { ExecReply, Exit } from "../guest/messages.ts";
import type { GuestStream } from "../guest/stream.ts";
import type { ExecProcess } from "../plugin/contract.ts";
import type { ExecStatus } from "./exec_options.ts";
import { ttySizeOf } from "./exec_tty.ts";
import { signalName, signalNumber } from "./signals.ts";

/** Waits until the command runs; rejects with the agent's reason when it can't. */
export async function guestProcess(
  stream: GuestStream<ExecReply>,
  { tty }: { readonly tty: boolean },
): Promise<ExecProcess> {
  const { pid } = await stream.reply;
  const status = stream.exit.then(statusOf);
  status.catch(() => {}); // it shows where it is awaited, and nowhere else
  return {
    pid,
    status,
    // Not made before somebody asks for them.
    get stdin() {
      return stream.stdin;
    },
    get stdout() {
      return stream.stdout;
    },
    get stderr() {
      return stream.stderr;
    },
    kill(signal) {
      stream.control({ op: "signal", signal: signalNumber(signal) });
    },
    ...tty ? { resize: (size) => void stream.control({ op: "resize", tty: ttySizeOf(size) }) } : {},
    close: () => stream.close(),
  };
}

/** How a command ended, as programs see it. */
export function statusOf(exit: Exit): ExecStatus {
  const code = exit.code ?? 128 + (exit.signal ? signalNumber(exit.signal) : 0);
  return {
    success: code === 0,
    code,
    signal: exit.signal === null ? null : signalName(exit.signal),
    timedOut: exit.timedOut,
  };
}
