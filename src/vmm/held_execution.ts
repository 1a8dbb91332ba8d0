/**
 * One command that the box process holds: it belongs to no client, so that none takes it along.
 *
 * @module
 */
import type { BlockReader } from "../guest/blocks.ts";
import { emptyHeader, makeCredit, makeFrame, readHeader } from "../guest/codec.ts";
import type { HeldEntry } from "../guest/held_messages.ts";
import {
  Channel,
  CHANNEL_MASK,
  END,
  FrameType,
  HEADER_SIZE,
  MAX_PAYLOAD,
  WINDOW,
} from "../guest/protocol.ts";
import { StreamRules } from "../guest/stream_rules.ts";
import { type Attachable, type Attachment, type OutputChannel, OUTPUTS } from "./attachment.ts";
import type { GuestLink, GuestStreamOwner } from "./guest_link.ts";
import { Replay } from "./replay.ts";

/** Where the output of held commands is written down. It fails by itself if need be. */
export interface OutputLog {
  /** `bytes` are the caller's memory. */
  write(source: string, channel: OutputChannel, bytes: Uint8Array): void;
  /** No more comes from this source. */
  end(source: string): void;
}

/** What a held command needs of its table. */
export interface HeldLink {
  readonly guest: GuestLink;
  readonly log: OutputLog;
  /** How much of each output is kept, in bytes. */
  keep(): number;
  /** Its command ended, or never began (then it is to be forgotten). */
  ended(execution: HeldExecution): void;
}

/** Bytes are given back to the guest in such pieces. */
const GRANT = WINDOW / 4;
const NOTHING = new Uint8Array(0);
/** `{code: null, signal: "SIGKILL", timedOut: false}` as CBOR: what became of a broken stream's command. */
const KILLED = new Uint8Array([
  ...[0xa3, 0x64, ...new TextEncoder().encode("code"), 0xf6],
  ...[0x66, ...new TextEncoder().encode("signal"), 0x67, ...new TextEncoder().encode("SIGKILL")],
  ...[0x68, ...new TextEncoder().encode("timedOut"), 0xf4],
]);

/** Its stream to the guest. */
interface Stream {
  readonly number: number;
  readonly rules: StreamRules;
  /** CLOSE was sent. */
  closing: boolean;
}

/** See the module. */
export class HeldExecution implements GuestStreamOwner, Attachable {
  readonly id: string;
  readonly outputs: Readonly<Record<OutputChannel, Replay>> = {
    [Channel.STDOUT]: new Replay(),
    [Channel.STDERR]: new Replay(),
  };
  exit: Uint8Array<ArrayBuffer> | undefined;
  readonly #command: readonly string[];
  readonly #link: HeldLink;
  readonly #tty: boolean;
  readonly #startedMs = Date.now();
  /** The same on a clock that nobody sets. */
  readonly #begunMs = performance.now();
  readonly #attachments: Set<Attachment> = new Set();
  /** Those who wait for the guest's answer. */
  readonly #starting: Set<Attachment> = new Set();
  #stream: Stream | undefined;
  #reply: Uint8Array<ArrayBuffer> | undefined;
  #endedMs: number | null = null;
  /** Bytes of output that weren't given back to the guest. */
  readonly #unpaid: Record<OutputChannel, number> = { [Channel.STDOUT]: 0, [Channel.STDERR]: 0 };
  /** Of the DATA frame that comes in parts: what is missing, and its channel. */
  #left = 0;
  #channel: OutputChannel = Channel.STDOUT;
  readonly #header = emptyHeader();
  /** Whose input it reads. */
  #writer: Attachment | undefined;
  #inputOpen: boolean;
  #pending: Uint8Array[] = [];
  #endPending = false;
  /** Bytes of input under way that nobody waits for any more. */
  #orphaned = 0;

  /** Prepares it; {@link HeldExecution.open} starts it. */
  constructor(
    { id, command, stdin, tty }: {
      readonly id: string;
      readonly command: readonly string[];
      readonly stdin: boolean;
      readonly tty: boolean;
    },
    link: HeldLink,
  ) {
    this.id = id;
    this.#command = command;
    this.#tty = tty;
    this.#inputOpen = stdin;
    this.#link = link;
  }

  /** Whether it hasn't ended. */
  get running(): boolean {
    return this.exit === undefined;
  }

  /** Asks the guest for it. */
  open(request: Uint8Array, background: boolean): void {
    const number = this.#link.guest.open(this, request, { background });
    this.#stream = { number, rules: new StreamRules(), closing: false };
  }

  /** Joins a client; `once` lets go of it when the guest has answered. */
  attach(attachment: Attachment, { once }: { readonly once: boolean }): void {
    if (once) this.#starting.add(attachment);
    else this.#attachments.add(attachment);
    if (this.#reply) attachment.reply(this.#reply);
  }

  /** As it is listed. */
  entry(): HeldEntry {
    return {
      id: this.id,
      command: this.#command,
      tty: this.#tty,
      startedMs: this.#startedMs,
      endedMs: this.#endedMs,
      exit: this.exit ? this.exit.toBase64() : null,
    };
  }

  /** Gives memory back when less of its output is to be kept. */
  shrink(): void {
    for (const channel of OUTPUTS) {
      this.outputs[channel].trim(Math.max(this.#link.keep(), this.#debt(channel)));
      this.outputs[channel].shrink();
    }
  }

  forward(reader: BlockReader, from: number, to: number): void {
    const { bytes, view } = reader.block;
    for (let at = from; at < to;) {
      if (this.#left > 0) {
        const part = bytes.subarray(at, Math.min(to, at + this.#left));
        this.#left -= part.length;
        at += part.length;
        this.#printed(this.#channel, part);
        continue;
      }
      readHeader(view, at, this.#header);
      const { type, flags, length } = this.#header;
      at += HEADER_SIZE;
      const credit = type === FrameType.CREDIT ? view.getUint32(at) : 0;
      this.#stream?.rules.receive(type, flags, length, credit);
      if (type === FrameType.DATA) {
        const channel = flags & CHANNEL_MASK;
        if (channel === Channel.STDIN) this.#inputClosed();
        else this.#channel = channel === Channel.STDOUT ? Channel.STDOUT : Channel.STDERR;
        this.#left = length;
      } else {
        this.#message(type, bytes.slice(at, at + length), credit);
        at += length;
      }
    }
    for (const attachment of [...this.#attachments]) attachment.pump();
    this.moved();
  }

  /** Gives the guest back what was written down and nobody waits for. */
  moved(): void {
    if (!this.#stream || this.#stream.closing || this.exit) return;
    for (const channel of OUTPUTS) {
      const count = this.#unpaid[channel] - this.#debt(channel);
      if (count < GRANT || !this.#stream.rules.granted(channel, count)) continue;
      this.#unpaid[channel] -= count;
      this.#link.guest.send(makeCredit(this.#stream.number, channel, count));
    }
  }

  left(attachment: Attachment): void {
    this.#attachments.delete(attachment);
    this.#starting.delete(attachment);
    if (this.#writer === attachment) {
      this.#writer = undefined;
      this.#pending = [];
      this.#endPending = false;
      this.#orphaned = WINDOW - (this.#stream?.rules.stdinCredit ?? WINDOW);
    }
    this.moved();
  }

  control(payload: Uint8Array): void {
    if (!this.#stream || this.#stream.closing || this.exit) return;
    this.#link.guest.send(makeFrame(FrameType.CONTROL, this.#stream.number, payload));
  }

  input(from: Attachment, bytes: Uint8Array, end: boolean): void {
    if (!this.#inputOpen || this.#endPending || (this.#writer && this.#writer !== from)) {
      return from.refuseInput();
    }
    this.#writer = from;
    if (bytes.length > 0) this.#pending.push(bytes.slice());
    this.#endPending = end;
    this.#feed();
  }

  /** Passes on as much input as the guest takes. */
  #feed(): void {
    const stream = this.#stream;
    if (!stream || stream.closing || !this.#inputOpen) return;
    const number = stream.number;
    for (let next = this.#pending[0]; next; next = this.#pending[0]) {
      const count = Math.min(next.length, stream.rules.stdinCredit, MAX_PAYLOAD);
      if (count === 0) return;
      stream.rules.sent(count);
      this.#link.guest.send(
        makeFrame(FrameType.DATA, number, next.subarray(0, count), Channel.STDIN),
      );
      if (count === next.length) this.#pending.shift();
      else this.#pending[0] = next.subarray(count);
    }
    if (!this.#endPending) return;
    this.#inputOpen = false;
    this.#link.guest.send(makeFrame(FrameType.DATA, number, NOTHING, Channel.STDIN | END));
  }

  #credited(count: number): void {
    const orphaned = Math.min(count, this.#orphaned);
    this.#orphaned -= orphaned;
    this.#writer?.credit(count - orphaned);
    this.#feed();
  }

  #inputClosed(): void {
    this.#inputOpen = false;
    this.#pending = [];
    for (const attachment of this.#attachments) attachment.refuseInput();
  }

  #printed(channel: OutputChannel, bytes: Uint8Array): void {
    if (this.exit) return; // by what it left behind, a moment ago
    if (!this.#tty) this.#link.log.write(this.id, channel, bytes);
    const keep = Math.max(this.#link.keep(), this.#debt(channel) + bytes.length);
    this.outputs[channel].append(bytes, keep);
    this.#unpaid[channel] += bytes.length;
  }

  /** How far behind the slowest client is that the command waits for, in bytes. */
  #debt(channel: OutputChannel): number {
    const { end } = this.outputs[channel];
    let least = end;
    for (const attachment of this.#attachments) {
      least = Math.min(least, attachment.needs(channel) ?? end);
    }
    return end - least;
  }

  #message(type: number, payload: Uint8Array<ArrayBuffer>, credit: number): void {
    if (type === FrameType.REPLY) this.#replied(payload);
    else if (type === FrameType.CREDIT) this.#credited(credit);
    else if (type === FrameType.EXIT) this.#over(payload);
    else if (type === FrameType.ERROR && !this.#reply) this.#failed(payload);
    else if (type === FrameType.ERROR || type === FrameType.CLOSE) this.#over(KILLED);
  }

  #replied(payload: Uint8Array<ArrayBuffer>): void {
    this.#reply = payload;
    for (const attachment of [...this.#starting]) {
      attachment.reply(payload);
      attachment.close();
    }
    for (const attachment of [...this.#attachments]) attachment.reply(payload);
  }

  #failed(payload: Uint8Array): void {
    this.exit = KILLED;
    this.#inputOpen = false;
    for (const attachment of [...this.#starting, ...this.#attachments]) attachment.fail(payload);
    this.#link.ended(this);
  }

  #over(exit: Uint8Array<ArrayBuffer>): void {
    const stream = this.#stream;
    if (this.exit) return;
    this.exit = exit;
    // So long after its start: the wall clock may have been set meanwhile.
    this.#endedMs = Math.round(this.#startedMs + performance.now() - this.#begunMs);
    this.#inputOpen = false;
    this.#pending = [];
    this.#link.log.end(this.id);
    // What it left behind may hold its pipes for ever, and nobody waits for that.
    if (stream && !stream.closing) {
      stream.closing = true;
      this.#link.guest.send(makeFrame(FrameType.CLOSE, stream.number));
    }
    this.#link.ended(this);
  }

  /** Whether the guest ever said that it runs. */
  get started(): boolean {
    return this.#reply !== undefined;
  }
}
