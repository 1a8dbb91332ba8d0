/**
 * A command's streams for those who have them before it runs.
 *
 * @module
 */
import type { ExecProcess } from "../plugin/contract.ts";

/**
 * What the command prints on one of its outputs.
 *
 * @param orFailure Gives what a read gives, or throws what the command's user is to get instead.
 */
export function deferredReadable(
  process: Promise<ExecProcess>,
  name: "stdout" | "stderr",
  orFailure: <T>(read: Promise<T>) => Promise<T>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined;
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const next = async () => await (reader ??= (await process)[name].getReader()).read();
      try {
        const { value, done } = await orFailure(next());
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        reader?.cancel(error).catch(() => {}); // nobody reads it any more
        throw error;
      }
    },
    async cancel(reason) {
      reader ??= (await process)[name].getReader();
      await reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
}

/** What the command reads. */
export function deferredWritable(
  process: Promise<ExecProcess>,
): WritableStream<Uint8Array> {
  let writer: WritableStreamDefaultWriter<Uint8Array> | undefined;
  const open = async () => writer ??= (await process).stdin.getWriter();
  return new WritableStream<Uint8Array>({
    async write(chunk) {
      await (await open()).write(chunk);
    },
    async close() {
      await (await open()).close();
    },
    async abort(reason) {
      await (await open()).abort(reason);
    },
  });
}
