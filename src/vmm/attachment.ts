/**
 * One client's stream that is joined with a held command: sends what the command printed as the
 * client takes it, and its end.
 *
 * @module
 */
import { makeCredit, makeFrame } from "../guest/codec.ts";
import type { FrameReader } from "../guest/frame_reader.ts";
import {
  Channel,
  CHANNEL_MASK,
  END,
  FrameType,
  HEADER_SIZE,
  MAX_PAYLOAD,
  WINDOW,
} from "../guest/protocol.ts";
import type { SendQueue } from "../guest/send_queue.ts";
import type { Replay } from "./replay.ts";
import { after } from "./timer.ts";

/** A client's stream that the box process itself answers. */
export interface HeldStream {
  /** Takes a frame of the client, which the relay has judged. */
  take(reader: FrameReader): void;
  /** The relay has ended. */
  gone(): void;
}

/** A held command, as its attachments see it. */
export interface Attachable {
  /** What it printed, by channel. */
  readonly outputs: Readonly<Record<OutputChannel, Replay>>;
  /** Its EXIT payload once it ended. */
  readonly exit: Uint8Array<ArrayBuffer> | undefined;
  /** Takes a piece of its standard input; it is the caller's memory. */
  input(from: Attachment, bytes: Uint8Array, end: boolean): void;
  /** Passes a control message on. */
  control(payload: Uint8Array): void;
  /** The attachment has moved on, or is one to wait for no more. */
  moved(): void;
  /** It is over. */
  left(attachment: Attachment): void;
}

/** The channels of what a command prints. */
export type OutputChannel = typeof Channel.STDOUT | typeof Channel.STDERR;
export const OUTPUTS: readonly OutputChannel[] = [Channel.STDOUT, Channel.STDERR];

/** What is sent at once, in bytes. */
const PIECE = 64 * 1024;
/** Nothing is added while more than this waits to be written to the relay, in bytes. */
const QUEUE = 256 * 1024;
/** How long the command waits for a client that takes nothing, in `ms`. */
const STALL_MS = 3_000;
const NOTHING = new Uint8Array(0);

/** One output channel of an attachment. */
interface Flow {
  /** Place of the next byte to send. */
  at: number;
  /** Bytes that were sent and that the client hasn't given back. */
  underWay: number;
  ended: boolean;
}

/** From REPLY to CLOSE. */
export class Attachment implements HeldStream {
  readonly #out: SendQueue;
  readonly #number: number;
  readonly #of: Attachable;
  readonly #flows: Readonly<Record<OutputChannel, Flow>>;
  readonly #output: boolean;
  /** That the command takes no input is to be said, or was. */
  #inputRefused = false;
  #replied = false;
  #over = false;
  #waiting = false;
  #stall: Disposable | undefined;
  /** Whether the command waits for it: while it keeps up. */
  #paces = true;

  /** Joins; sends nothing before {@link Attachment.reply}. */
  constructor(
    of: Attachable,
    { out, number, output, replay }: {
      readonly out: SendQueue;
      readonly number: number;
      readonly output: boolean;
      readonly replay: boolean;
    },
  ) {
    this.#of = of;
    this.#out = out;
    this.#number = number;
    this.#output = output;
    const flow = (channel: OutputChannel): Flow => {
      const { start, end } = of.outputs[channel];
      return { at: replay ? start : end, underWay: 0, ended: false };
    };
    this.#flows = { [Channel.STDOUT]: flow(1), [Channel.STDERR]: flow(2) };
  }

  /** Place up to which a channel must be kept for it; undefined when it isn't waited for. */
  needs(channel: OutputChannel): number | undefined {
    return this.#output && this.#paces && !this.#over ? this.#flows[channel].at : undefined;
  }

  /** The command runs: the guest's REPLY. */
  reply(payload: Uint8Array): void {
    if (this.#replied || this.#over) return;
    this.#replied = true;
    this.#say(makeFrame(FrameType.REPLY, this.#number, payload));
    if (this.#inputRefused) this.#sayRefused();
    this.pump();
  }

  /** The command couldn't be started: the guest's ERROR. */
  fail(payload: Uint8Array): void {
    if (this.#over) return;
    this.#say(makeFrame(FrameType.ERROR, this.#number, payload));
    this.#finish();
  }

  /** Ends it from this side; the command goes on. */
  close(): void {
    if (!this.#over) this.#finish();
  }

  /** Gives bytes of standard input back. */
  credit(count: number): void {
    if (this.#over || count === 0) return;
    this.#say(makeCredit(this.#number, Channel.STDIN, count));
  }

  /** The command takes no input, or none from this client. */
  refuseInput(): void {
    if (this.#over || this.#inputRefused) return;
    this.#inputRefused = true;
    if (this.#replied) this.#sayRefused();
  }

  take(reader: FrameReader): void {
    const { type, flags } = reader.header;
    if (type === FrameType.CLOSE) this.#finish();
    else if (type === FrameType.CONTROL) this.#of.control(reader.payload);
    else if (type === FrameType.CREDIT) this.#credited(reader, flags & CHANNEL_MASK);
    else if (type === FrameType.DATA) this.#of.input(this, reader.payload, (flags & END) !== 0);
  }

  gone(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stall?.[Symbol.dispose]();
    this.#of.left(this);
  }

  /** Sends what the client takes now. */
  pump(): void {
    if (this.#over || !this.#replied || this.#waiting) return;
    let moved = false;
    while (this.#hasRoom()) {
      const sent = this.#output && OUTPUTS.map((channel) => this.#send(channel)).includes(true);
      if (!sent) break;
      moved = true;
    }
    if (moved) this.#progress();
    if (!this.#output || this.#caughtUp()) this.#atEnd();
    else this.#watch();
  }

  /** Whether the queue takes more; if not, goes on once it does. */
  #hasRoom(): boolean {
    if (this.#out.queuedBytes <= QUEUE) return true;
    this.#waiting = true;
    void this.#out.drained(QUEUE).then(() => {
      this.#waiting = false;
      this.pump();
    });
    return false;
  }

  /** Sends a piece of a channel; false when there is none, or the client takes none. */
  #send(channel: OutputChannel): boolean {
    const flow = this.#flows[channel];
    const output = this.#of.outputs[channel];
    if (flow.at >= output.end) return false;
    const room = Math.min(WINDOW - flow.underWay, PIECE, MAX_PAYLOAD);
    if (flow.at < output.start) {
      const mark = leftOut(output.start - flow.at);
      if (mark.length > room) return false;
      flow.at = output.start;
      this.#data(channel, mark);
      return true;
    }
    const bytes = output.read(flow.at, room);
    if (bytes.length === 0) return false;
    flow.at += bytes.length;
    this.#data(channel, bytes);
    return true;
  }

  #data(channel: OutputChannel, bytes: Uint8Array): void {
    this.#flows[channel].underWay += bytes.length;
    this.#say(makeFrame(FrameType.DATA, this.#number, bytes, channel));
  }

  #credited(reader: FrameReader, channel: number): void {
    if (channel !== Channel.STDOUT && channel !== Channel.STDERR) return;
    this.#flows[channel].underWay -= reader.view.getUint32(reader.from + HEADER_SIZE);
    this.pump();
  }

  #caughtUp(): boolean {
    return OUTPUTS.every((channel) => this.#flows[channel].at === this.#of.outputs[channel].end);
  }

  #progress(): void {
    this.#stall?.[Symbol.dispose]();
    this.#stall = undefined;
    this.#of.moved();
  }

  /** It is behind: for so long the command waits for it, and not again before it caught up. */
  #watch(): void {
    if (!this.#paces || this.#stall !== undefined) return;
    this.#stall = after(STALL_MS, () => {
      this.#stall = undefined;
      this.#paces = false;
      this.#of.moved();
    });
  }

  #atEnd(): void {
    this.#stall?.[Symbol.dispose]();
    this.#stall = undefined;
    this.#paces = true;
    const { exit } = this.#of;
    if (!exit) return;
    for (const channel of OUTPUTS) {
      this.#say(makeFrame(FrameType.DATA, this.#number, NOTHING, channel | END));
    }
    this.#say(makeFrame(FrameType.EXIT, this.#number, exit));
    this.#finish();
  }

  #finish(): void {
    this.#say(makeFrame(FrameType.CLOSE, this.#number));
    this.gone();
  }

  #sayRefused(): void {
    this.#say(makeFrame(FrameType.DATA, this.#number, NOTHING, Channel.STDIN | END));
  }

  #say(frame: Uint8Array): void {
    this.#out.copy(frame);
  }
}

/** What stands in for bytes that a client was too slow for. */
function leftOut(count: number): Uint8Array {
  return new TextEncoder().encode(`\n[hutch: ${count} bytes were left out here]\n`);
}
