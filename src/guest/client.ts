/**
 * The user's program's end of the channel: requests to the agent of one box, and streams.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import { asPermissionError } from "../permissions.ts";
import { BlockReader, FrameScanner } from "./blocks.ts";
import { encodeMessage } from "./encode.ts";
import { type Asked, purpose } from "./failures.ts";
import {
  type HeldAttach,
  type HeldEntry,
  type HeldStart,
  makeHeldAsk,
  readHeldList,
  shownCommand,
} from "./held_messages.ts";
import type {
  ConfigureReply,
  ConfigureRequest,
  ExecReply,
  ExecRequest,
  Goodbye,
  Hello,
  PingRequest,
  Request,
  ResumeRequest,
  ShutdownRequest,
} from "./messages.ts";
import { ALONE, FrameType, HEADER_SIZE, MAX_MESSAGE, PROTOCOL_VERSION } from "./protocol.ts";
import { SendQueue } from "./send_queue.ts";
import { GuestStream } from "./stream.ts";
import { StreamDriver, type StreamInput } from "./stream_driver.ts";
import {
  type EmptyReply,
  readConfigureReply,
  readEmptyReply,
  readExecReply,
  readGoodbye,
  readHello,
} from "./validate.ts";

/** Options of {@link GuestClient.connect}. */
export interface ConnectOptions {
  readonly signal?: AbortSignal;
  /** How long to wait for the agent's hello, in `ms`. @default {30000} */
  readonly timeoutMs?: number;
  /**
   * Asked once when the connection is lost: why, as a clause ("the machine ran out of memory"), or
   * undefined if that isn't known. Waited for at most 2 s.
   */
  readonly lostReason?: () => string | undefined | Promise<string | undefined>;
}

/** What the agent said last, and to whom. */
export interface Parting extends Goodbye {
  /** Whether this is the only client, and no command was ever held: nobody else waits for anything. */
  readonly alone: boolean;
}

/** Options of {@link GuestClient.request} and {@link GuestClient.open}. */
export interface RequestOptions {
  /** Gives the request up; what is pending rejects with `cancelled`. */
  readonly signal?: AbortSignal;
  /**
   * Whether it doesn't count as activity: a box may be ended as idle under it.
   *
   * @default {true for a ping, else false}
   */
  readonly background?: boolean;
}

const BLOCK_SIZE = 1024 * 1024;
const LEAST_ROOM = 128 * 1024;
const LOST_REASON_MS = 2000;
const MAX_STREAM = 0xffffffff;

/**
 * A connection to the agent of one box.
 *
 * @example
 * ```ts
 * async function list(socketPath: string): Promise<number | null> {
 *   await using client = await GuestClient.connect(socketPath, { timeoutMs: 30_000 });
 *   await client.request({ op: "ping" });
 *   const stream = client.open({
 *     op: "exec", argv: ["ls"], env: ["PATH=/bin"], cwd: "/", user: "root", stdin: false,
 *   });
 *   for await (const bytes of stream.stdout) await Deno.stdout.write(bytes);
 *   return (await stream.exit).code;
 * }
 * ```
 */
export class GuestClient implements AsyncDisposable {
  readonly #conn: Deno.Conn;
  readonly #out: SendQueue;
  readonly #options: ConnectOptions;
  readonly #streams: Map<number, StreamInput> = new Map();
  readonly #helloCame = Promise.withResolvers<Hello>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #parting = Promise.withResolvers<Parting | undefined>();
  #number = 0;
  #hello: Hello | undefined;
  #goodbye: Parting | undefined;
  #lost: HutchError | undefined;
  #ending = false;
  /** Who gets the rest of a DATA frame that has come in part. */
  #receiver: StreamInput | undefined;

  private constructor(conn: Deno.Conn, options: ConnectOptions) {
    this.#conn = conn;
    this.#options = options;
    this.#out = new SendQueue(conn, () => {
      // The read loop finds out too, and has read what came before.
    });
    this.#helloCame.promise.catch(() => {});
    void this.#read();
  }

  /**
   * Connects to the unix socket of a box process and waits for the agent's hello.
   *
   * @throws {HutchError} `connection_lost` if nobody listens or the box ends first, `boot_timeout`
   * if no hello comes in time, `agent_protocol` if the agent speaks another version, `cancelled`
   */
  static async connect(socketPath: string, options: ConnectOptions = {}): Promise<GuestClient> {
    throwIfAborted(options.signal, "connect to the box");
    let conn: Deno.Conn;
    try {
      conn = await Deno.connect({ transport: "unix", path: socketPath });
    } catch (cause) {
      // Nothing is lost: it was never allowed.
      if (cause instanceof Deno.errors.NotCapable) throw asPermissionError(cause, "reach the box");
      throw new HutchError(
        "connection_lost",
        `Cannot connect to the box: ${socketPath} doesn't answer (${errorText(cause)})`,
        { cause },
      );
    }
    const client = new GuestClient(conn, options);
    const timeoutMs = options.timeoutMs ?? 30_000;
    const timer = setTimeout(() =>
      client.#end(
        new HutchError(
          "boot_timeout",
          `Cannot connect to the box: its agent didn't answer within ${timeoutMs} ms`,
        ),
      ), timeoutMs);
    using _abort = onAbort(
      options.signal,
      (signal) => client.#end(cancelled("connect to the box", signal)),
    );
    try {
      await client.#helloCame.promise;
      return client;
    } catch (error) {
      await client.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** What the agent said first. */
  get hello(): Hello {
    if (!this.#hello) throw new HutchError("connection_lost", "Cannot tell the hello: none came");
    return this.#hello;
  }

  /**
   * What the agent says last, once it does; undefined when the connection ends without. Its machine may yet
   * be there for a while.
   */
  get parting(): Promise<Parting | undefined> {
    return this.#parting.promise;
  }

  /** Why the connection ended, once it did. */
  get lost(): HutchError | undefined {
    return this.#lost;
  }

  /** Whether the connection has ended or is about to: nothing can be asked any more. */
  get ending(): boolean {
    return this.#ending;
  }

  /** Resolves when the connection is over, whatever the reason; never rejects. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Makes the box's view. */
  request(request: ConfigureRequest, options?: RequestOptions): Promise<ConfigureReply>;
  /**
   * Asks whether the agent is there, makes the box another one, or ends the guest; the last also
   * resolves if the guest was gone before its reply came.
   */
  request(
    request: PingRequest | ResumeRequest | ShutdownRequest,
    options?: RequestOptions,
  ): Promise<EmptyReply>;
  /**
   * Sends a request that has one reply.
   *
   * @throws {HutchError} the agent's reason, `connection_lost`, `cancelled`, `agent_protocol`
   */
  request(
    request: ConfigureRequest | PingRequest | ResumeRequest | ShutdownRequest,
    options: RequestOptions = {},
  ): Promise<ConfigureReply | EmptyReply> {
    switch (request.op) {
      case "configure":
        return this.#ask(request, readConfigureReply, options);
      case "ping":
      case "resume":
        return this.#ask(request, readEmptyReply, options);
      case "shutdown":
        return this.#ask(request, readEmptyReply, options).catch((error: unknown) => {
          const gone = error instanceof HutchError && error.code === "connection_lost";
          if (gone && this.#goodbye?.reason === "shutdown") return {};
          throw error;
        });
    }
  }

  /**
   * Runs a command. Its failures come through the stream's promises.
   *
   * @throws {HutchError} `connection_lost` if the connection is over, `limit_exceeded` if the
   * request is too large, `cancelled`
   */
  open(request: ExecRequest, options: RequestOptions = {}): GuestStream<ExecReply> {
    return new GuestStream(this.#start(request, readExecReply, options));
  }

  /**
   * Runs a command that the box process holds: it goes on when the stream is closed, or this program
   * ends.
   *
   * @param id Made up by the caller: 8 to 32 hexadecimal digits; or `main`.
   * @throws {HutchError} as {@link GuestClient.open}
   */
  hold(
    { id, attach, tty = false }: Pick<HeldStart, "id" | "attach"> & { readonly tty?: boolean },
    request: ExecRequest,
    options: RequestOptions = {},
  ): GuestStream<ExecReply> {
    const { argv, stdin } = request;
    const ask: HeldStart = { op: "start", id, command: shownCommand(argv), stdin, tty, attach };
    const what = purpose(request);
    const payload = makeHeldAsk(ask, encodeMessage({ ...request, held: id }, what));
    if (payload.length > MAX_MESSAGE) {
      throw new HutchError(
        "limit_exceeded",
        `Cannot ${what}: its arguments and environment are too large by ${
          payload.length - MAX_MESSAGE
        } bytes`,
      );
    }
    return new GuestStream(
      this.#send(request, { payload, held: true, readReply: readExecReply, options }),
    );
  }

  /**
   * Lets the box process hold a command that ran when the memory was kept which this machine goes on
   * from; it answers once the command is held.
   *
   * @throws {HutchError} as {@link GuestClient.open}
   */
  adopt(
    { id, command, tty }: Pick<HeldEntry, "id" | "command" | "tty">,
    options: RequestOptions = {},
  ): GuestStream<ExecReply> {
    const ask: HeldStart = { op: "start", id, command, stdin: true, tty, attach: false };
    const request = { op: "adopt", held: id } as const;
    const payload = makeHeldAsk(ask, encodeMessage(request, purpose(request)));
    return new GuestStream(
      this.#send(request, { payload, held: true, readReply: readExecReply, options }),
    );
  }

  /**
   * Joins a held command. Closing the stream lets go of it.
   *
   * @throws {HutchError} `connection_lost` if the connection is over, `cancelled`
   */
  attach(
    { id, output, replay }: Omit<HeldAttach, "op">,
    options: RequestOptions = {},
  ): GuestStream<ExecReply> {
    const ask: HeldAttach = { op: "attach", id, output, replay };
    const payload = makeHeldAsk(ask);
    return new GuestStream(
      this.#send(ask, { payload, held: true, readReply: readExecReply, options }),
    );
  }

  /**
   * Lets the machine stand still until the stream is closed, which resolves when it goes on; it also
   * does when this program ends.
   *
   * @throws {HutchError} through `reply`: `guest_failed` where the box process can't do that
   */
  standStill(): GuestStream<EmptyReply> {
    const payload = makeHeldAsk({ op: "pause" });
    const options = { background: true };
    return new GuestStream(
      this.#send({ op: "pause" }, { payload, held: true, readReply: readEmptyReply, options }),
    );
  }

  /** The commands that the box process holds, the oldest first. */
  async held(options: RequestOptions = {}): Promise<HeldEntry[]> {
    const payload = makeHeldAsk({ op: "list" });
    const readReply = readEmptyReply;
    const driver = this.#send({ op: "list" }, { payload, held: true, readReply, options });
    const text = await new Response(driver.stdout.readable).text();
    try {
      return readHeldList(text);
    } catch (cause) {
      throw new HutchError(
        "agent_protocol",
        `Cannot ${purpose({ op: "list" })}: ${errorText(cause)}`,
        {
          cause,
        },
      );
    }
  }

  /** Ends the connection; what is pending rejects with `cancelled`. Idempotent. */
  async close(): Promise<void> {
    this.#end(new HutchError("cancelled", "Cannot go on: the connection to the box was closed"));
    await this.#closed.promise;
  }

  /** {@link GuestClient.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #ask<Reply>(
    request: Request,
    readReply: (payload: Uint8Array) => Reply,
    options: RequestOptions,
  ): Promise<Reply> {
    return await this.#start(request, readReply, options).reply;
  }

  #start<Reply>(
    request: Request,
    readReply: (payload: Uint8Array) => Reply,
    options: RequestOptions,
  ): StreamDriver<Reply> {
    const payload = encodeMessage(request, purpose(request));
    return this.#send(request, { payload, held: false, readReply, options });
  }

  /** Opens a stream: to the guest with the request itself, to the box process with a payload. */
  #send<Reply>(
    request: Asked,
    { payload, held, readReply, options }: {
      readonly payload: Uint8Array;
      readonly held: boolean;
      readonly readReply: (payload: Uint8Array) => Reply;
      readonly options: RequestOptions;
    },
  ): StreamDriver<Reply> {
    const { signal, background = request.op === "ping" } = options;
    const what = purpose(request);
    throwIfAborted(signal, what);
    if (this.#ending) throw this.#lost ?? lostError(`Cannot ${what}`, undefined);
    const streaming = request.op === "exec" || held;
    const wide = request.op === "exec" && !held && isCopy(request.builtin);
    const plan = { number: this.#next(), request, readReply, streaming, background, held, wide };
    const driver = new StreamDriver(plan, {
      out: this.#out,
      forget: (number) => this.#streams.delete(number),
    });
    this.#streams.set(driver.number, driver);
    const abort = onAbort(signal, (aborted) => driver.giveUp(cancelled(what, aborted)));
    void driver.closed.then(() => abort[Symbol.dispose]());
    driver.open(payload);
    return driver;
  }

  #next(): number {
    do {
      this.#number = this.#number === MAX_STREAM ? 1 : this.#number + 1;
    } while (this.#streams.has(this.#number));
    return this.#number;
  }

  async #read(): Promise<void> {
    const reader = new BlockReader(this.#conn, { blockSize: BLOCK_SIZE, leastRoom: LEAST_ROOM });
    const scanner = new FrameScanner(reader, "agent");
    let cause: unknown;
    try {
      while (await reader.more()) {
        while (scanner.next()) this.#take(reader, scanner);
        if (scanner.problem !== undefined) throw broken(scanner.problem);
      }
    } catch (error) {
      cause = error;
    }
    if (cause instanceof HutchError) this.#end(cause);
    else if (!this.#ending) await this.#endLost(cause);
  }

  #take(reader: BlockReader, scanner: FrameScanner): void {
    const { type, stream: number, flags, length } = scanner.header;
    const { bytes, view } = reader.block;
    const part = bytes.subarray(scanner.payloadFrom, scanner.to);
    if (scanner.begins) {
      this.#receiver = undefined;
      if (number === 0) return this.#connectionFrame(type, flags, part);
      if (!this.#hello) throw broken("a frame came before HELLO");
      const driver = this.#streams.get(number);
      if (!driver) throw broken(`a frame came for stream ${number}, which isn't open`);
      const credit = type === FrameType.CREDIT ? view.getUint32(scanner.from + HEADER_SIZE) : 0;
      const problem = driver.rules.receive(type, flags, length, credit);
      if (problem !== undefined) throw broken(problem);
      if (type !== FrameType.DATA) return driver.message(type, part);
      this.#receiver = driver;
    }
    const keep = () => {
      const block = reader.hold();
      return () => reader.release(block);
    };
    this.#receiver?.data(flags, part, keep, scanner.ends);
  }

  #connectionFrame(type: number, flags: number, payload: Uint8Array): void {
    if (type === FrameType.GOODBYE) {
      if (!this.#hello || this.#goodbye) throw broken("GOODBYE came out of order");
      this.#goodbye = { ...readGoodbye(payload), alone: (flags & ALONE) !== 0 };
      return this.#parting.resolve(this.#goodbye);
    }
    if (this.#hello) throw broken("HELLO came twice");
    const hello = readHello(payload);
    if (hello.protocol !== PROTOCOL_VERSION) {
      throw new HutchError(
        "agent_protocol",
        `Cannot talk to the box: its agent speaks version ${hello.protocol}, not ${PROTOCOL_VERSION}`,
        { hint: "stop the box with the version of hutch that started it" },
      );
    }
    this.#hello = hello;
    this.#helloCame.resolve(hello);
  }

  /** The connection broke: finds out why, then ends. */
  async #endLost(cause: unknown): Promise<void> {
    this.#ending = true;
    let reason: string | undefined;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => resolve(undefined), LOST_REASON_MS);
    try {
      reason = await Promise.race([this.#options.lostReason?.(), promise]);
    } catch {
      // Not knowing why doesn't change that it is lost.
    }
    clearTimeout(timer);
    if (reason === undefined && this.#goodbye) {
      const { reason: why, message } = this.#goodbye;
      reason = message === "" ? (why === "shutdown" ? "it was shut down" : undefined) : message;
    }
    this.#finish(lostError("Cannot go on", reason, cause));
  }

  #end(error: HutchError): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#finish(error);
  }

  #finish(error: HutchError): void {
    this.#lost = error;
    this.#parting.resolve(undefined);
    this.#out.stop();
    this.#conn.close();
    this.#helloCame.reject(error);
    const drivers = [...this.#streams.values()];
    this.#streams.clear();
    for (const driver of drivers) driver.lost(error);
    this.#closed.resolve();
  }
}

/** Whether it is one of the agent's programs that copy. */
function isCopy(builtin: string | undefined): boolean {
  return builtin === "pack" || builtin === "unpack";
}

function lostError(what: string, reason: string | undefined, cause?: unknown): HutchError {
  const because = reason === undefined ? "the connection to it ended" : reason;
  return new HutchError(
    "connection_lost",
    `${what}: the box is gone, ${because}`,
    cause === undefined ? {} : { cause },
  );
}

function broken(problem: string): HutchError {
  return new HutchError("agent_protocol", `Cannot trust the box's agent any more: ${problem}`);
}

function cancelled(what: string, { reason }: AbortSignal): HutchError {
  return new HutchError("cancelled", `Cannot ${what}: it was cancelled`, { cause: reason });
}

function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted) throw cancelled(what, signal);
}

/** Calls `run` when `signal` aborts, at once if it has, until disposed of. */
function onAbort(
  signal: AbortSignal | undefined,
  run: (signal: AbortSignal) => void,
): Disposable {
  if (!signal) return { [Symbol.dispose]: () => {} };
  const abort = () => run(signal);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort);
  return { [Symbol.dispose]: () => signal.removeEventListener("abort", abort) };
}
