/**
 * HTTP to a box's own ports, by the runtime's HTTP client over a connection through the agent. (Deno's
 * `fetch` can't be given a connection; told that one is a proxy it names the whole URL in its request,
 * which small servers don't understand.)
 *
 * @module
 */
import { type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import { Duplex } from "node:stream";
import { HutchError } from "../errors.ts";
import { systemClock } from "./clock.ts";
import type { BoxConnection } from "./connection.ts";

/** What of a {@link BoxConnection} is needed. */
export type Connection = Pick<BoxConnection, "readable" | "writable" | "close">;

/** A body up to this size is sent with its length, since some servers know no other way. */
const MOST_AT_ONCE = 64 * 1024;
/** How long for all of it to come, in `ms`. */
const PATIENCE_MS = 100;
/** Answers that have no body. */
const BODILESS = [204, 205, 304];

/** The request that `fetch` of these arguments would make, to a port of a box. */
export function boxRequest(
  port: number,
  input: Request | URL | string,
  init: RequestInit | undefined,
): Request {
  const url = typeof input === "string" ? new URL(input, `http://localhost:${port}`) : input;
  const request = new Request(url, init);
  if (new URL(request.url).protocol === "http:") return request;
  throw new HutchError("invalid_option", `Cannot fetch ${request.url} of a box: it isn't http`, {
    hint: "box.connect gives a connection for any protocol",
  });
}

/** One request and its answer over a connection, which ends with the answer's body. */
export async function fetchOver(connection: Connection, request: Request): Promise<Response> {
  try {
    const { head, rest } = await beginningOf(request);
    const message = open(connection, request, rest ? undefined : head.length);
    const answer = answered(message, request);
    answer.catch(() => {}); // sending may fail first, for the same reason
    const sent = send(message, head, rest);
    sent.catch((error: unknown) => message.destroy(error instanceof Error ? error : undefined));
    return responseOf(await answer, request, connection);
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** A body's pieces, of which the next one may be waited for without being taken. */
class Pieces {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;
  #next: Promise<ReadableStreamReadResult<Uint8Array<ArrayBuffer>>> | undefined;

  constructor(body: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.#reader = body.getReader();
  }

  /** Undefined at the end. */
  async next(): Promise<Uint8Array | undefined> {
    return (await (this.#next ??= this.#reader.read())).value;
  }

  take(): void {
    this.#next = undefined;
  }

  giveUp(reason?: unknown): void {
    this.#reader.cancel(reason).catch(() => {});
  }
}

/** The first bytes of a body, and the rest of it if that isn't all. */
async function beginningOf(
  { body, signal }: Request,
): Promise<{ readonly head: Uint8Array; readonly rest?: Pieces }> {
  if (!body) return { head: new Uint8Array() };
  const pieces = new Pieces(body);
  const chunks: Uint8Array[] = [];
  const over = new AbortController();
  const late = systemClock.sleep(PATIENCE_MS, AbortSignal.any([signal, over.signal]))
    .then(() => "late" as const);
  try {
    for (let size = 0; size <= MOST_AT_ONCE;) {
      const next = await Promise.race([pieces.next(), late]);
      signal.throwIfAborted();
      if (next === "late") break;
      pieces.take();
      if (next === undefined) return { head: join(chunks) };
      chunks.push(next);
      size += next.length;
    }
    return { head: join(chunks), rest: pieces };
  } catch (error) {
    pieces.giveUp(error);
    throw error;
  } finally {
    over.abort();
  }
}

function join(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

function open(
  connection: Connection,
  request: Request,
  length: number | undefined,
): ClientRequest {
  const { host, pathname, search } = new URL(request.url);
  const headers = Object.fromEntries(request.headers);
  if (request.body && length !== undefined) headers["content-length"] = String(length);
  return httpRequest({
    method: request.method,
    path: `${pathname}${search}`,
    headers: { ...headers, host: request.headers.get("host") ?? host },
    createConnection: () => duplexOf(connection),
  });
}

function answered(
  message: ClientRequest,
  { signal, url }: Request,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const abort = () => {
    reject(signal.reason);
    message.destroy();
  };
  message.once("response", (answer) => {
    answer.once("close", () => signal.removeEventListener("abort", abort));
    resolve(answer);
  });
  message.once("upgrade", (_answer, socket) => {
    socket.destroy();
    reject(
      new HutchError(
        "guest_failed",
        `Cannot fetch ${url} of a box: its server switches protocols`,
        {
          hint: "box.connect gives a connection for any protocol",
        },
      ),
    );
  });
  message.on("error", reject);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  return promise;
}

async function send(
  message: ClientRequest,
  head: Uint8Array,
  rest: Pieces | undefined,
): Promise<void> {
  try {
    if (rest) message.flushHeaders();
    if (head.length > 0) await write(message, head);
    for (let next; (next = await rest?.next()) !== undefined; rest?.take()) {
      await write(message, next);
    }
  } finally {
    rest?.giveUp();
  }
  message.end();
}

/** Resolves when the next piece may come. */
function write(message: ClientRequest, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) =>
    message.write(bytes, (error) => error ? reject(error) : resolve())
  );
}

function responseOf(
  answer: IncomingMessage,
  request: Request,
  connection: Connection,
): Response {
  const status = answer.statusCode ?? 0;
  const headers = new Headers();
  for (let i = 0; i + 1 < answer.rawHeaders.length; i += 2) {
    headers.append(answer.rawHeaders[i] ?? "", answer.rawHeaders[i + 1] ?? "");
  }
  answer.once("close", () => void connection.close());
  const bodiless = BODILESS.includes(status) || request.method === "HEAD";
  if (bodiless) answer.resume();
  return new Response(bodiless ? null : bodyOf(answer, request.signal), {
    status,
    statusText: answer.statusMessage ?? "",
    headers,
  });
}

/** Waits with reading while nobody reads; given up, it ends the connection. */
function bodyOf(
  answer: IncomingMessage,
  signal: AbortSignal,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const chunks = answer[Symbol.asyncIterator]();
  return new ReadableStream({
    async pull(controller) {
      const { value, done } = await chunks.next().catch((error) => {
        throw signal.aborted ? signal.reason : error;
      });
      if (done) controller.close();
      else controller.enqueue(new Uint8Array(value));
    },
    cancel() {
      answer.destroy();
    },
  }, { highWaterMark: 0 });
}

/** A connection in Node's form. */
function duplexOf(connection: Connection): Duplex {
  const reader = connection.readable.getReader();
  const writer = connection.writable.getWriter();
  return new Duplex({
    read() {
      reader.read().then(
        ({ value, done }) => this.push(done ? null : value),
        (error) => this.destroy(error),
      );
    },
    write(chunk, _encoding, done) {
      writer.write(chunk).then(() => done(), done);
    },
    final(done) {
      writer.close().then(() => done(), done);
    },
    destroy(error, done) {
      void connection.close().then(() => done(error));
    },
  });
}
