/**
 * A stream to the guest, as its user sees it.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { purpose } from "./failures.ts";
import type { Control, Exit } from "./messages.ts";
import { encodeMessage } from "./encode.ts";
import type { StreamDriver } from "./stream_driver.ts";

/** Options of {@link GuestStream.close}. */
export interface StreamCloseOptions {
  /** How long to wait for the agent, in `ms`. @default {5000} */
  readonly timeoutMs?: number;
}

/**
 * A command in the box. All of its promises may be left alone: none of them causes an unhandled
 * rejection, and channels that nobody asks for hold at most a window of bytes.
 */
export class GuestStream<Reply> implements AsyncDisposable {
  readonly #driver: StreamDriver<Reply>;

  /** Made by `GuestClient.open`. */
  constructor(driver: StreamDriver<Reply>) {
    this.#driver = driver;
  }

  /** The agent's answer; rejects with the agent's reason, `connection_lost` or `cancelled`. */
  get reply(): Promise<Reply> {
    return this.#driver.reply;
  }

  /** How the command ended; rejects as `reply` does. All output was queued before. */
  get exit(): Promise<Exit> {
    return this.#driver.exit;
  }

  /** Resolves when the stream is over, whatever the reason; never rejects. */
  get closed(): Promise<void> {
    return this.#driver.closed;
  }

  /** What the command prints. The command waits while a window of bytes isn't read. */
  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#driver.stdout.readable;
  }

  /**
   * Waits for what the command prints and copies it, as far as it fits: how many bytes; 0 at the end.
   * Instead of {@link GuestStream.stdout}, for much: memory isn't made anew for each piece.
   */
  readOutput(into: Uint8Array<ArrayBuffer>): Promise<number> {
    return this.#driver.stdout.read(into);
  }

  /** What the command prints as diagnostics. */
  get stderr(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#driver.stderr.readable;
  }

  /** What the command reads, if it was asked for with `stdin`. Close it to end the input. */
  get stdin(): WritableStream<Uint8Array> {
    return this.#driver.stdin.writable;
  }

  /** Bytes of output that came and weren't read. */
  get queuedBytes(): number {
    return this.#driver.stdout.queuedBytes + this.#driver.stderr.queuedBytes;
  }

  /** Sends a control message, such as a signal; false if the command has ended. */
  control(control: Control): boolean {
    return this.#driver.control(encodeMessage(control, "control the command"));
  }

  /**
   * Ends the stream: the agent kills what it runs. Resolves when the agent has done so, when it
   * didn't within `timeoutMs`, or when the box is gone; never rejects.
   */
  async close(options: StreamCloseOptions = {}): Promise<void> {
    const what = purpose(this.#driver.request);
    this.#driver.giveUp(new HutchError("cancelled", `Cannot ${what}: its stream was closed`));
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, options.timeoutMs ?? 5000);
    await Promise.race([this.#driver.closed, promise]);
    clearTimeout(timer);
  }

  /** {@link GuestStream.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
