/**
 * The guest's end of a copy: the agent's programs `unpack` and `pack`.
 *
 * @module
 */
import { CopyFailure } from "../../ffi/helper.ts";
import { HutchError } from "../errors.ts";
import type { GuestClient } from "../guest/client.ts";
import type { ExecReply } from "../guest/messages.ts";
import type { GuestStream } from "../guest/stream.ts";
import type { CopyResult } from "./copy_options.ts";

/** Most of what a program says; no honest one says more. */
const MAX_SAID = 32 * 1024;

/** One of the two programs at work. */
export class GuestCopy implements AsyncDisposable {
  readonly #stream: GuestStream<ExecReply>;
  readonly #said: Promise<string>;

  private constructor(stream: GuestStream<ExecReply>) {
    this.#stream = stream;
    this.#said = read(stream.stderr);
    this.#said.catch(() => {});
  }

  /** Starts one on a path in the box; `name` is its tree's. */
  static async start(
    client: GuestClient,
    program: "pack" | "unpack",
    { flags, path, name, signal }: {
      readonly flags: number;
      readonly path: string;
      readonly name: string;
      readonly signal: AbortSignal;
    },
  ): Promise<GuestCopy> {
    const stream = client.open({
      op: "exec",
      builtin: program,
      argv: [program, `${flags}`, path, name],
      env: [],
      cwd: "/",
      user: "0",
      stdin: program === "unpack",
    }, { signal });
    await stream.reply;
    return new GuestCopy(stream);
  }

  /** The tar that it makes. */
  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#stream.stdout;
  }

  /** Reads of it what there is and fits: how many bytes; 0 at the end. Instead of {@link GuestCopy.stdout}. */
  read(into: Uint8Array<ArrayBuffer>): Promise<number> {
    return this.#stream.readOutput(into);
  }

  /** The tar that it takes. */
  get stdin(): WritableStream<Uint8Array> {
    return this.#stream.stdin;
  }

  /**
   * Waits for its end and what it says then.
   *
   * @throws CopyFailure; HutchError `agent_protocol` when it says something else.
   */
  async end(): Promise<CopyResult> {
    const exit = await this.#stream.exit;
    const line = (await this.#said).replace(/\n$/, "");
    const [, ...counts] = /^S (\d{1,15}) (\d{1,15}) (\d{1,15})$/.exec(line) ?? [];
    const [entries = 0, bytes = 0, skipped = 0] = counts.map(Number);
    if (exit.code === 0 && counts.length > 0) return { entries, bytes, skipped };
    const failure = CopyFailure.read(line);
    if (failure) throw failure;
    if (exit.signal !== null) throw new CopyFailure("EINTR", `${exit.signal} ended it`, "");
    throw new HutchError("agent_protocol", "Cannot copy: the box's agent didn't say how it went");
  }

  /** Kills it if it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stream.close();
  }
}

async function read(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    if (text.length < MAX_SAID) text += decoder.decode(chunk, { stream: true });
  }
  return text.slice(0, MAX_SAID);
}
