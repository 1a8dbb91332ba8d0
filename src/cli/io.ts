/**
 * The command line's own streams, and writing to them without losing or holding back bytes.
 *
 * @module
 */
import { errorText } from "../errors.ts";

/** Something bytes are written to; `Deno.stdout` is one. */
export interface ByteSink {
  /** Writes some of `bytes` and says how many. */
  write(bytes: Uint8Array): Promise<number>;
  isTerminal(): boolean;
}

/** Something bytes are read from; `Deno.stdin` is one. */
export interface ByteSource {
  /** Reads into `buffer` and says how many bytes, or null at the end. */
  read(buffer: Uint8Array): Promise<number | null>;
  /** Left out where it can't be one. */
  isTerminal?(): boolean;
}

/** What the command line reads from and writes to. */
export interface CliIo {
  readonly stdin: ByteSource;
  readonly stdout: ByteSink;
  readonly stderr: ByteSink;
  /** The terminal's size in characters; throws where there is none. */
  consoleSize?(): { readonly rows: number; readonly columns: number };
}

/** Output couldn't be written: a full disk, say. */
export class OutputError extends Error {
  override readonly name: string = "OutputError";
}

/** Nobody reads our output any more: end quietly, as other tools do. */
export class OutputClosed extends OutputError {
  override readonly name: string = "OutputClosed";
}

const encoder = new TextEncoder();
/** Read at once, in bytes. */
const CHUNK = 256 * 1024;
/** Pause before a non-blocking pipe that is full is tried again, in `ms`. */
const FULL_PIPE_MS = 5;

/**
 * Writes all of `bytes`.
 *
 * @throws {OutputClosed} when the reader is gone, {OutputError} when writing fails otherwise.
 */
export async function writeAll(sink: ByteSink, bytes: Uint8Array): Promise<void> {
  let rest = bytes;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(await sink.write(rest));
    } catch (error) {
      if (error instanceof Deno.errors.BrokenPipe) {
        throw new OutputClosed("Cannot write output: its reader is gone", { cause: error });
      }
      // A parent may have given us a pipe in non-blocking mode.
      if (!(error instanceof Deno.errors.WouldBlock)) {
        throw new OutputError(`Cannot write output: ${errorText(error)}`, { cause: error });
      }
      await new Promise((resolve) => setTimeout(resolve, FULL_PIPE_MS));
    }
  }
}

/** What a source gives, read as it is asked for. */
export function streamFrom(source: ByteSource): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    async pull(controller) {
      const chunk = new Uint8Array(CHUNK);
      const count = await source.read(chunk);
      if (count === null) controller.close();
      else controller.enqueue(chunk.subarray(0, count));
    },
  }, { highWaterMark: 0 });
}

/** A stream into a sink, which stays open. */
export function streamTo(sink: ByteSink): WritableStream<Uint8Array> {
  return new WritableStream({ write: (bytes) => writeAll(sink, bytes) });
}

/** Writes `text` as UTF-8. */
export function print(sink: ByteSink, text: string): Promise<void> {
  return writeAll(sink, encoder.encode(text));
}
