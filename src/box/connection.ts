/**
 * Connections to a box's own ports that need no published port: through the agent.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { GuestClient } from "../guest/client.ts";
import type { ExecReply } from "../guest/messages.ts";
import type { GuestStream } from "../guest/stream.ts";

const ECONNREFUSED = 111;
/** An ordinary user of the box, which any program there may be. */
const USER = "65534:65534";

/** A connection to a port of a box, as `Deno.connect` gives one to a port of this machine. */
export class BoxConnection implements AsyncDisposable {
  readonly #stream: GuestStream<ExecReply>;
  /** What the box sends; ends when it has nothing more to say. */
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Port in the box. */
  readonly port: number;

  /** Made by `Box.connect`. */
  constructor(
    stream: GuestStream<ExecReply>,
    readable: ReadableStream<Uint8Array<ArrayBuffer>>,
    port: number,
  ) {
    this.#stream = stream;
    this.readable = readable;
    this.port = port;
  }

  /** What the box gets. Closing it tells the box that nothing more comes; it can still answer. */
  get writable(): WritableStream<Uint8Array> {
    return this.#stream.stdin;
  }

  /** Ends the connection both ways; no-op when it has ended. */
  async close(): Promise<void> {
    await this.#stream.close();
  }

  /** {@link BoxConnection.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Connects to a port of the box's loopback, by IPv4 or, where nothing listens there, IPv6. */
export async function connectTo(
  client: GuestClient,
  port: number,
  { box, signal }: { readonly box: string; readonly signal?: AbortSignal | undefined },
): Promise<BoxConnection> {
  const stream = client.open({
    op: "exec",
    builtin: "connect",
    argv: ["connect", String(port)],
    env: [],
    cwd: "/",
    user: USER,
    stdin: true,
  }, signal ? { signal } : {});
  try {
    await stream.reply;
    const reader = stream.stdout.getReader();
    const { value, done } = await reader.read();
    const word = done ? undefined : value[0];
    if (word !== 0 || value === undefined) {
      const why = word === ECONNREFUSED ? "nothing listens there" : `error ${word ?? "unknown"}`;
      throw new HutchError(
        "port_refused",
        `Cannot connect to port ${port} of box "${box}": ${why}`,
      );
    }
    return new BoxConnection(stream, rest(reader, value.subarray(1)), port);
  } catch (error) {
    await stream.close();
    throw error;
  }
}

/** Throws `invalid_option` for what is no port. */
export function checkPort(port: number): void {
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return;
  throw new HutchError(
    "invalid_option",
    `Cannot connect to port ${port}: it is not from 1 to 65535`,
  );
}

/** What a reader has yet to give, behind what it gave too early. */
function rest(
  reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>,
  first: Uint8Array<ArrayBuffer>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    start(controller) {
      if (first.length > 0) controller.enqueue(first);
    },
    async pull(controller) {
      const { value, done } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}
