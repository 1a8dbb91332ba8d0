/**
 * QEMU's machine protocol (QMP): JSON lines over a unix socket. Without imports, since the box process
 * loads it too.
 *
 * @module
 */

/** How long QEMU may take to answer, in `ms`: it serves one asker at a time. */
const TIMEOUT_MS = 5_000;
/** Longest line that is read from it, in bytes. */
const LINE_LIMIT = 1024 * 1024;

/** The name of the block that is the guest's memory, on machines of type microvm. */
export const RAM_BLOCK = "microvm.ram";

/** A command, as QEMU knows it. */
export interface QemuOrder {
  readonly execute: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
}

/** QEMU refused a command, and did nothing. */
export class QemuRefused extends Error {}

/** A conversation with a machine. Reads what comes all the while, so that nothing piles up in QEMU. */
export class QemuTalk implements Disposable {
  readonly #connection: Deno.UnixConn;
  readonly #timeoutMs: number;
  readonly #heard: (event: Readonly<Record<string, unknown>>) => void;
  readonly #waiting: PromiseWithResolvers<unknown>[] = [];
  #ready: Promise<unknown> | undefined;
  #over: Error | undefined;

  /**
   * Over a connection to its monitor.
   *
   * @param options `timeoutMs`: how long an answer may take. @default {5000}; `heard`: told of events, once
   * something was asked.
   */
  constructor(connection: Deno.UnixConn, { timeoutMs = TIMEOUT_MS, heard = () => {} }: {
    readonly timeoutMs?: number;
    readonly heard?: (event: Readonly<Record<string, unknown>>) => void;
  } = {}) {
    this.#connection = connection;
    this.#timeoutMs = timeoutMs;
    this.#heard = heard;
    void this.#read();
  }

  /**
   * What QEMU returns for one command.
   *
   * @throws QemuRefused; any other error when the connection is lost or it takes too long. It may be
   * done later all the same, and others may be asked meanwhile.
   */
  async ask(order: QemuOrder): Promise<unknown> {
    await this.begin();
    return await this.#send(order);
  }

  /** Has QEMU take commands, and tell of events; `ask` does it by itself. */
  begin(): Promise<unknown> {
    return this.#ready ??= this.#begin();
  }

  /** Ends it. */
  [Symbol.dispose](): void {
    this.#end(new Error("the conversation was ended"));
  }

  async #begin(): Promise<void> {
    try {
      await this.#send({ execute: "qmp_capabilities" });
    } catch (error) {
      this.#end(errorOf(error)); // it takes nothing without
      throw error;
    }
  }

  async #send(order: QemuOrder): Promise<unknown> {
    if (this.#over) throw this.#over;
    const answer = Promise.withResolvers<unknown>();
    // Answers come in the order of questions: one that is late keeps its place.
    this.#waiting.push(answer);
    const late = () => answer.reject(new Error(`it didn't answer in ${this.#timeoutMs} ms`));
    using _timer = after(this.#timeoutMs, late);
    this.#write(order).catch((error) => answer.reject(this.#over ?? error));
    return await answer.promise;
  }

  async #write(order: QemuOrder): Promise<void> {
    const bytes = new TextEncoder().encode(`${JSON.stringify(order)}\n`);
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
  }

  async #read(): Promise<void> {
    try {
      for await (const value of readMessages(this.#connection)) {
        if (!isObject(value)) continue;
        if ("return" in value) this.#waiting.shift()?.resolve(value.return);
        else if ("error" in value) {
          this.#waiting.shift()?.reject(new QemuRefused(wordsOf(value.error)));
        } else if ("event" in value) this.#heard(value);
        // the other one is its greeting
      }
    } catch (error) {
      this.#end(errorOf(error));
    }
  }

  #end(why: Error): void {
    if (this.#over) return;
    this.#over = why;
    this.#connection.close();
    for (const each of this.#waiting.splice(0)) each.reject(why);
  }
}

/** Talks with the QEMU whose monitor listens at a path. */
export async function talkToQemu<T>(
  controlPath: string,
  body: (talk: QemuTalk) => Promise<T>,
): Promise<T> {
  using talk = new QemuTalk(await Deno.connect({ transport: "unix", path: controlPath }));
  return await body(talk);
}

async function* readMessages(connection: Deno.UnixConn): AsyncGenerator<unknown, never> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let text = "";
  for (;;) {
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line);
    if (text.length > LINE_LIMIT) throw new Error("its answer is too long");
    const length = await connection.read(buffer);
    if (length === null) throw new Error("it closed the connection");
    text += decoder.decode(buffer.subarray(0, length), { stream: true });
  }
}

/** QEMU's version and what the guest's processors are, as memory of one must fit another. */
export async function qemuMarks(talk: QemuTalk): Promise<Record<string, string>> {
  const [version, kvm, smap] = await Promise.all([
    talk.ask({ execute: "query-version" }),
    talk.ask({ execute: "query-kvm" }),
    hasSmap(talk),
  ]);
  const numbers = isObject(version) && isObject(version.qemu)
    ? [version.qemu.major, version.qemu.minor, version.qemu.micro].join(".")
    : "?";
  return {
    version: numbers,
    accelerator: isObject(kvm) && kvm.enabled === true ? "kvm" : "tcg",
    smap: smap ? "on" : "off",
  };
}

/** Whether its processors have what the kernel has built itself for when it booted. */
async function hasSmap(talk: QemuTalk): Promise<boolean> {
  const processors = await talk.ask({ execute: "query-cpus-fast" });
  const [first]: unknown[] = Array.isArray(processors) ? processors : [];
  const path = isObject(first) ? first["qom-path"] : undefined;
  return await talk.ask({ execute: "qom-get", arguments: { path, property: "smap" } }) === true;
}

function errorOf(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}

function wordsOf(error: unknown): string {
  return isObject(error) && typeof error.desc === "string" ? error.desc : JSON.stringify(error);
}

/**
 * Calls `run` once after `ms`, unless it is disposed of before. Not by `setTimeout`, which loads Node's
 * timers: a box process does without.
 */
export function after(ms: number, run: () => void): Disposable {
  const signal = AbortSignal.timeout(ms);
  signal.addEventListener("abort", run, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener("abort", run) };
}

/** Whether a value has keys. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
