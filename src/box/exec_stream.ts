/**
 * A process's streams, in the shape of `Deno.ChildProcess`'s.
 *
 * @module
 */
import { HutchError } from "../errors.ts";

/** A stream that can be read as a whole. */
export class ProcessStream extends ReadableStream<Uint8Array<ArrayBuffer>>
  implements Deno.SubprocessReadableStream {
  /** Gives what `reader` gives; whoever has the reader can end this though it is being read. */
  constructor(reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>) {
    super({
      async pull(controller) {
        const { value, done } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    }, { highWaterMark: 0 });
  }

  /** All of it. */
  async arrayBuffer(): Promise<ArrayBuffer> {
    return await new Response(this).arrayBuffer();
  }

  /** All of it. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return await new Response(this).bytes();
  }

  /** All of it, read as JSON. Throws SyntaxError when it isn't JSON. */
  async json(): Promise<unknown> {
    return await new Response(this).json();
  }

  /** All of it, as UTF-8. */
  async text(): Promise<string> {
    return await new Response(this).text();
  }
}

/** A process's input, whose writes fail as Deno's do once nobody reads. */
export function processInput(sink: WritableStream<Uint8Array>): WritableStream<Uint8Array> {
  const writer = sink.getWriter();
  writer.closed.catch(() => {}); // the next write says it
  const asDeno = (error: unknown): never => {
    if (!(error instanceof HutchError) || error.code !== "broken_pipe") throw error;
    throw new Deno.errors.BrokenPipe("Broken pipe (os error 32)", { cause: error });
  };
  return new WritableStream({
    write: (chunk) => writer.write(chunk).catch(asDeno),
    close: () => writer.close().catch(asDeno),
    abort: (reason) => writer.abort(reason),
  });
}

/** Writes a stream to one of this program's own; never rejects. */
export async function relayTo(
  stream: ReadableStream<Uint8Array>,
  sink: { write(bytes: Uint8Array): Promise<number> },
): Promise<void> {
  try {
    for await (const chunk of stream) {
      for (let at = 0; at < chunk.length;) at += await sink.write(chunk.subarray(at));
    }
  } catch {
    // Nobody reads ours any more, which lets go of theirs; or theirs broke, which its status says.
  }
}
