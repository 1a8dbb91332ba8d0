/**
 * A way to a registry on which things go wrong.
 *
 * @module
 */

/** What a registry answered, and what is done to it on the way. */
export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
  /** After so many bytes of the body the connection is cut. @default {never} */
  readonly cutAfter?: number;
  /** After so many bytes of the body nothing more comes, and the connection stays. @default {never} */
  readonly stallAfter?: number;
  /** No length is told: the body ends with the connection. @default {false} */
  readonly untilClose?: boolean;
}

/** A request that a {@link Fault} may spoil. */
export interface Asked {
  readonly path: string;
  /** How many requests for this path there were before. */
  readonly times: number;
  /** First byte of the blob that was asked for. */
  readonly from: number;
  /** Sends the request on, with the headers that it came with, or others. */
  readonly forward: (headers?: Headers) => Promise<Reply>;
}

/** Answers a request, or leaves it alone. */
export type Fault = (asked: Asked) => Promise<Reply> | Reply | undefined;

/** What went over a connection. */
export interface Passed {
  readonly path: string;
  /** The header `Range`, if there was one. */
  readonly range: string | null;
  readonly status: number;
  /** Bytes of the body that were sent. */
  readonly bytes: number;
}

/** Passes requests on to a registry on loopback, on a port of its own, until disposed. */
export class LyingProxy implements AsyncDisposable {
  readonly #upstream: string;
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #connections = new Set<Deno.Conn>();
  readonly #served: Promise<void>;
  readonly #times = new Map<string, number>();
  readonly #passed: Passed[] = [];
  /** What goes wrong. */
  fault: Fault = () => undefined;

  /** @param upstream `127.0.0.1:PORT` of the registry. */
  constructor(upstream: string) {
    this.#upstream = upstream;
    this.#served = this.#serve();
  }

  /** `127.0.0.1:PORT`, as in references. */
  get host(): string {
    return `127.0.0.1:${this.#listener.addr.port}`;
  }

  /** What went through so far. */
  get passed(): readonly Passed[] {
    return this.#passed;
  }

  /** Bytes of blobs that were sent so far. */
  get blobBytes(): number {
    return this.#passed.reduce((sum, { path, bytes }) => {
      return path.includes("/blobs/") ? sum + bytes : sum;
    }, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) close(connection);
    await this.#served;
  }

  async #serve(): Promise<void> {
    const working: Promise<void>[] = [];
    for await (const connection of this.#listener) {
      this.#connections.add(connection);
      // A client that goes away in the middle is what these tests are about.
      const work = this.#answer(connection).catch(() => {}).finally(() => {
        this.#connections.delete(connection);
        close(connection);
      });
      working.push(work);
    }
    await Promise.all(working);
  }

  /** One request per connection. */
  async #answer(connection: Deno.Conn): Promise<void> {
    const { path, headers } = parseHead(await readHead(connection));
    const times = this.#times.get(path) ?? 0;
    this.#times.set(path, times + 1);
    const range = headers.get("range");
    const reply = await this.fault({
      path,
      times,
      from: Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0),
      forward: (other) => this.#forward(path, other ?? headers),
    }) ?? await this.#forward(path, headers);
    const told = new Headers(reply.headers);
    told.set("connection", "close");
    if (reply.untilClose) told.delete("content-length");
    else if (!told.has("content-length")) told.set("content-length", String(reply.body.length));
    const lines = [...told].map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const head = `HTTP/1.1 ${reply.status} Told\r\n${lines}\r\n`;
    const body = reply.body.subarray(
      0,
      Math.min(reply.cutAfter ?? Infinity, reply.stallAfter ?? Infinity),
    );
    let bytes = 0;
    try {
      await writeAll(connection, new TextEncoder().encode(head));
      for (; bytes < body.length;) bytes += await connection.write(body.subarray(bytes));
    } finally {
      this.#passed.push({ path, range, status: reply.status, bytes });
    }
    // Until the client has had enough, or we end.
    if (reply.stallAfter !== undefined) await connection.read(new Uint8Array(1));
  }

  async #forward(path: string, headers: Headers): Promise<Reply> {
    const sent = new Headers(headers);
    for (const name of ["host", "connection"]) sent.delete(name);
    const response = await fetch(`http://${this.#upstream}${path}`, {
      headers: sent,
      redirect: "manual",
    });
    const kept = new Headers(response.headers);
    for (const name of ["content-length", "transfer-encoding", "connection"]) kept.delete(name);
    return { status: response.status, headers: kept, body: await response.bytes() };
  }
}

/** Only blobs go wrong; of these the chosen one, or all. */
export function onBlob(fault: Fault, digest = ""): Fault {
  return (asked) => asked.path.includes(`/blobs/${digest}`) ? fault(asked) : undefined;
}

/** Only the first `count` requests for each path go wrong. */
export function firstTimes(count: number, fault: Fault): Fault {
  return (asked) => asked.times < count ? fault(asked) : undefined;
}

/** Changes what the registry answers. */
export function changed(change: (reply: Reply, asked: Asked) => Partial<Reply>): Fault {
  return async (asked) => {
    const reply = await asked.forward();
    return { ...reply, ...change(reply, asked) };
  };
}

/** The reply's headers with one more, or another one. */
export function withHeader(reply: Reply, name: string, value: string): Pick<Reply, "headers"> {
  const headers = new Headers(reply.headers);
  headers.set(name, value);
  return { headers };
}

/** An answer without a body of its own. */
export function bare(status: number, headers: Readonly<Record<string, string>> = {}): Reply {
  return { status, headers: new Headers(headers), body: new Uint8Array() };
}

async function readHead(connection: Deno.Conn): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(16 * 1024);
  let text = "";
  while (!text.includes("\r\n\r\n")) {
    const count = await connection.read(buffer);
    if (count === null) throw new Error("it asked for nothing");
    text += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
  return text;
}

function parseHead(text: string): { path: string; headers: Headers } {
  const [request = "", ...lines] = text.split("\r\n\r\n", 1)[0]?.split("\r\n") ?? [];
  const path = /^GET (\S+) HTTP\/1\.1$/.exec(request)?.[1];
  if (path === undefined) throw new Error(`it asked for ${request}`);
  const headers = new Headers();
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return { path, headers };
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // It was closed meanwhile.
  }
}
