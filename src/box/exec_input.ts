/**
 * What a command reads, where it is given with the command.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { ExecOptions } from "./exec_options.ts";

/** Throws `invalid_option` for what can't be a command's input. */
export function checkInput(stdin: unknown): void {
  if (stdin === undefined || typeof stdin === "string" || stdin instanceof Uint8Array) return;
  if (stdin instanceof ReadableStream) {
    if (stdin.locked) refuse("Cannot use a stream as stdin: somebody else reads it");
    return;
  }
  refuse(`Cannot use ${kindOf(stdin)} as stdin: it is neither text, bytes nor a stream`, {
    hint: "wrap an ArrayBuffer: new Uint8Array(buffer)",
  });
}

/** What {@link feed} works with. */
export interface FeedPort {
  /** The command's input. */
  readonly into: () => WritableStream<Uint8Array>;
  /** Settles when the command reads nothing any more. */
  readonly over: Promise<unknown>;
  /**
   * Called at once when a stream breaks or gives what isn't bytes. The command's input stays open then:
   * its end would be taken for a good one.
   */
  readonly failed: (reason: unknown) => void;
}

/**
 * Writes what the option `stdin` gave. Never rejects: that the command reads no more is no error, and
 * why it can't be written to shows elsewhere. A stream that nobody reads any more is cancelled.
 */
export async function feed(stdin: ExecOptions["stdin"], port: FeedPort): Promise<void> {
  if (stdin === undefined || stdin === "null" || stdin === "piped") return;
  const writer = port.into().getWriter();
  writer.closed.catch(() => {}); // the next write says it
  try {
    if (stdin instanceof ReadableStream) await pump(stdin, writer, port);
    else await writer.write(typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin);
    await writer.close();
  } catch (error) {
    // The stream's failure was told, and the command's own end shows in its status. It is waited for:
    // to a command that still runs, this would be a good end of its input.
    await port.over.catch(() => {});
    await writer.abort(error).catch(() => {});
  }
}

/** Writes all of a stream; throws when that can't be done. */
async function pump(
  stream: ReadableStream<unknown>,
  writer: WritableStreamDefaultWriter<Uint8Array>,
  { over, failed }: FeedPort,
): Promise<void> {
  const reader = stream.getReader();
  const stop = (why?: unknown) => void reader.cancel(why).catch(() => {}); // it may have ended badly
  // Not only where it is read: a command that takes nothing would hide it.
  reader.closed.catch(failed);
  over.then(() => stop(), stop);
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      if (!(value instanceof Uint8Array)) throw notBytes(value, failed);
      await writer.write(value);
    }
  } catch (error) {
    stop(error);
    throw error;
  } finally {
    reader.releaseLock();
  }
}

function notBytes(value: unknown, failed: (reason: unknown) => void): HutchError {
  const error = new HutchError(
    "invalid_option",
    `Cannot use a stream as stdin: it gave ${kindOf(value)} where a Uint8Array was to come`,
    typeof value === "string" ? { hint: "send it through a TextEncoderStream" } : {},
  );
  failed(error);
  return error;
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value === "string") return "text";
  return typeof value === "object" ? value.constructor?.name ?? "an object" : `a ${typeof value}`;
}

function refuse(message: string, options: { readonly hint?: string } = {}): never {
  throw new HutchError("invalid_option", message, options);
}
