/**
 * Joins a command in a box with the command line's own streams.
 *
 * @module
 */
import type { Execution } from "../box/execution.ts";
import type { ExecStatus } from "../box/exec_options.ts";
import { errorText } from "../errors.ts";
import { type ByteSink, type ByteSource, type CliIo, print, writeAll } from "./io.ts";
import { printable } from "./format.ts";

/** What of an execution is joined. */
export type Joined = Pick<Execution, "status" | "stderr" | "stdin" | "stdout">;

/** What is read from standard input at once, in bytes. */
const INPUT_CHUNK = 64 * 1024;

/**
 * Passes bytes both ways until the command ended and all that it printed is written.
 *
 * @throws {OutputClosed} when nobody reads our output any more; the caller disposes of `execution`.
 */
export async function relay(
  execution: Joined,
  io: CliIo,
  options: { stdin: boolean },
): Promise<ExecStatus> {
  if (options.stdin) {
    // Not awaited: what it waits for may never come once the command has ended.
    feed(io.stdin, execution.stdin).catch((error) =>
      print(
        io.stderr,
        `hutch: Cannot read standard input: ${printable(errorText(error))}\n`,
      ).catch(() => {})
    );
  }
  const [status] = await Promise.all([
    execution.status,
    pump(execution.stdout, io.stdout),
    pump(execution.stderr, io.stderr),
  ]);
  return status;
}

/** Writes each chunk wholly before the next is asked for: that is the back-pressure. */
async function pump(stream: ReadableStream<Uint8Array>, sink: ByteSink): Promise<void> {
  for await (const chunk of stream) await writeAll(sink, chunk);
}

/** Copies `source` until its end, or until the command doesn't want any more. */
async function feed(source: ByteSource, sink: WritableStream<Uint8Array>): Promise<void> {
  const writer = sink.getWriter();
  writer.closed.catch(() => {});
  try {
    for (;;) {
      const buffer = new Uint8Array(INPUT_CHUNK);
      const count = await source.read(buffer);
      if (count === null) return;
      try {
        await writer.write(buffer.subarray(0, count));
      } catch {
        return; // The command closed its input, or ended.
      }
    }
  } finally {
    // Also after a failed read: the command must see an end.
    await writer.close().catch(() => {});
  }
}
