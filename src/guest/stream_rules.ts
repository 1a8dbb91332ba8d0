/**
 * What an agent may send on one stream and when, and the credit of the stream's channels. The
 * relay and the client both hold the guest to it; it is also what bounds their memory.
 *
 * @module
 */
import { typeName } from "./codec.ts";
import { Channel, CHANNEL_MASK, END, FrameType, WIDE_WINDOW, WINDOW } from "./protocol.ts";

/** The state of one stream, as the frames on it say. */
export class StreamRules {
  #replied = false;
  #failed = false;
  #exited = false;
  /** Bit per channel that the agent ended. */
  #ended = 0;
  #stdinUnderWay = 0;
  #stdoutUnderWay = 0;
  #stderrUnderWay = 0;
  readonly #window: number;

  /** Rules of a stream that has just been opened; `wide` as its OPEN says. */
  constructor({ wide = false }: { readonly wide?: boolean } = {}) {
    this.#window = wide ? WIDE_WINDOW : WINDOW;
  }

  /** Whether REPLY or ERROR has come. */
  get answered(): boolean {
    return this.#replied || this.#failed;
  }

  /** Payload bytes that may be sent to the agent now. */
  get stdinCredit(): number {
    return this.#window - this.#stdinUnderWay;
  }

  /** Payload bytes that the agent sent on `channel` and that nobody gave back. */
  underWay(channel: number): number {
    if (channel === Channel.STDIN) return 0;
    return channel === Channel.STDOUT ? this.#stdoutUnderWay : this.#stderrUnderWay;
  }

  /**
   * Takes a frame of the agent (its header was judged before) into account. `credit` is the count
   * in a CREDIT frame's payload.
   *
   * @returns what is wrong with it, or undefined
   */
  receive(type: number, flags: number, length: number, credit: number): string | undefined {
    switch (type) {
      case FrameType.DATA:
        return this.#data(flags, length);
      case FrameType.CREDIT:
        return this.#credit(flags & CHANNEL_MASK, credit);
      case FrameType.REPLY:
        if (this.answered) return this.#misplaced(type);
        this.#replied = true;
        return undefined;
      case FrameType.ERROR:
        if (this.#failed) return this.#misplaced(type);
        this.#failed = true;
        return undefined;
      case FrameType.EXIT:
        if (!this.#replied || this.#failed || this.#exited) return this.#misplaced(type);
        this.#exited = true;
        return undefined;
      case FrameType.CLOSE:
        return undefined;
      default:
        return this.#misplaced(type);
    }
  }

  /** Notes that `count` bytes of stdin go to the agent. */
  sent(count: number): void {
    this.#stdinUnderWay += count;
  }

  /**
   * Notes that `count` bytes of `channel` are given back to the agent.
   *
   * @returns false, changing nothing, if so many aren't under way
   */
  granted(channel: number, count: number): boolean {
    if (count === 0) return false;
    if (channel === Channel.STDOUT && count <= this.#stdoutUnderWay) {
      this.#stdoutUnderWay -= count;
      return true;
    }
    if (channel === Channel.STDERR && count <= this.#stderrUnderWay) {
      this.#stderrUnderWay -= count;
      return true;
    }
    return false;
  }

  #data(flags: number, length: number): string | undefined {
    if (!this.#replied || this.#failed) return this.#misplaced(FrameType.DATA);
    const channel = flags & CHANNEL_MASK;
    const bit = 1 << channel;
    if (channel === Channel.STDIN && length > 0) return "DATA with bytes came on stdin";
    if ((this.#ended & bit) !== 0) return `DATA came after the end of channel ${channel}`;
    if ((flags & END) !== 0) this.#ended |= bit;
    const total = this.underWay(channel) + length;
    if (total > this.#window) {
      return `channel ${channel} has ${total} bytes under way, over ${this.#window}`;
    }
    if (channel === Channel.STDOUT) this.#stdoutUnderWay = total;
    else if (channel === Channel.STDERR) this.#stderrUnderWay = total;
    return undefined;
  }

  #credit(channel: number, count: number): string | undefined {
    if (channel !== Channel.STDIN) return `CREDIT came for channel ${channel}`;
    if (!this.#replied) return this.#misplaced(FrameType.CREDIT);
    if (count === 0 || count > this.#stdinUnderWay) {
      return `CREDIT of ${count} bytes isn't within 1 to the ${this.#stdinUnderWay} under way`;
    }
    this.#stdinUnderWay -= count;
    return undefined;
  }

  #misplaced(type: number): string {
    const state = this.#exited
      ? "EXIT"
      : this.#failed
      ? "ERROR"
      : this.#replied
      ? "REPLY"
      : "no answer";
    return `${typeName(type)} came after ${state}`;
  }
}
