/**
 * A box's files as its operations reach them: a process that is there when it is needed.
 *
 * @module
 */
import type { GuestClient } from "../../guest/client.ts";
import type { ExecReply } from "../../guest/messages.ts";
import type { GuestStream } from "../../guest/stream.ts";
import { fileError, noSuchFile } from "./errors.ts";
import { type FilesRequestOptions, FilesSession, NotBegun, Refusal } from "./session.ts";
import type { GuestFrame, HeadValue } from "./wire.ts";
import { absolutePath, type BoxPath, pathText } from "./paths.ts";

/** What the files of a box need of it. */
export interface FilesHost {
  /** The box's name, for messages. */
  readonly name: () => string;
  /** The box's working folder, absolute. */
  readonly cwd: () => string;
  /** Connects to the guest; boots the box first if it doesn't run. */
  readonly guest: (signal?: AbortSignal) => Promise<GuestClient>;
}

/** A request about a path, or about nothing that has one. */
export interface Asked {
  /** What is done, to follow "Cannot": `read "/a" in box "web"`. */
  readonly what: string;
  readonly head: Readonly<Record<string, HeadValue>>;
  readonly data?: Uint8Array;
  readonly signal?: AbortSignal | undefined;
}

/** What became of a request. */
export interface Sent {
  /** The process that did it: what it opened is there. */
  readonly session: FilesSession;
  readonly reply: GuestFrame;
}

/** One user's way to a box's files. */
export class FilesPort {
  readonly #host: FilesHost;
  readonly #user: string;
  #session: FilesSession | undefined;
  #starting: Promise<FilesSession> | undefined;

  /** `user` as of `Box.exec`. */
  constructor(host: FilesHost, user: string) {
    this.#host = host;
    this.#user = user;
  }

  /** The box's working folder. */
  get cwd(): string {
    return this.#host.cwd();
  }

  /** A path as the guest takes it. */
  path(path: BoxPath): Uint8Array<ArrayBuffer> {
    return absolutePath(path, this.cwd);
  }

  /** What an operation does, for messages. */
  what(verb: string, path: BoxPath, then = ""): string {
    return `${verb} ${pathText(path)}${then} in box ${JSON.stringify(this.#host.name())}`;
  }

  /** One request; rejects with Deno's error for the guest's reason. */
  async ask({ what, head, data, signal }: Asked): Promise<GuestFrame> {
    if (isEmpty(head.path) || isEmpty(head.to)) throw noSuchFile(what);
    const sent = this.send(head, { ...(data ? { data } : {}), signal });
    return (await withReason(what, sent)).reply;
  }

  /** One request about a path, to a process that gets to it; rejects with the guest's reason as it is. */
  async send(
    head: Readonly<Record<string, HeadValue>>,
    options: FilesRequestOptions = {},
  ): Promise<Sent> {
    for (;;) {
      const session = await this.#usable(options.signal);
      try {
        return { session, reply: await session.request(head, options) };
      } catch (error) {
        if (!(error instanceof NotBegun)) throw error;
      }
    }
  }

  /** Runs another of the agent's programs as the same user. */
  async run(
    builtin: "files" | "watch",
    argv: readonly (string | Uint8Array)[],
    { background = false, signal }: {
      /** Whether it is no activity of the box. */
      readonly background?: boolean;
      readonly signal?: AbortSignal;
    } = {},
  ): Promise<GuestStream<ExecReply>> {
    const client = await this.#host.guest(signal);
    const stream = client.open({
      op: "exec",
      builtin,
      argv: [builtin, ...argv],
      env: [],
      cwd: "/",
      user: this.#user,
      stdin: builtin === "files",
    }, { background });
    try {
      await stream.reply;
      return stream;
    } catch (error) {
      await stream.close();
      throw error;
    }
  }

  /** A process that takes requests now: the caller sends its own before anything else happens. */
  async #usable(signal?: AbortSignal): Promise<FilesSession> {
    signal?.throwIfAborted();
    while (!this.#session?.usable) {
      this.#starting ??= this.#start().finally(() => this.#starting = undefined);
      await abortable(this.#starting, signal);
    }
    return this.#session;
  }

  async #start(): Promise<FilesSession> {
    return this.#session = new FilesSession(await this.run("files", []));
  }
}

/** Waits for a request's reply, whose refusal becomes Deno's error. */
export async function withReason<T>(what: string, reply: Promise<T>): Promise<T> {
  try {
    return await reply;
  } catch (error) {
    throw error instanceof Refusal ? fileError(error.errno, what) : error;
  }
}

/** Waits for what others may wait for as well. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return await promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function isEmpty(value: HeadValue | undefined): boolean {
  return value instanceof Uint8Array && value.length === 0;
}
