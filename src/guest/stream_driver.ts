/**
 * One stream of a {@link GuestClient}, as the client's read loop sees it: frames go in, promises
 * and channels come out.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { Keep } from "./byte_queue.ts";
import { InChannel, OutChannel } from "./channels.ts";
import { makeCredit, makeFrame } from "./codec.ts";
import { type Asked, failureError, purpose } from "./failures.ts";
import type { Exit } from "./messages.ts";
import { BACKGROUND, Channel, CHANNEL_MASK, END, FrameType, HELD, WIDE } from "./protocol.ts";
import type { SendQueue } from "./send_queue.ts";
import { StreamRules } from "./stream_rules.ts";
import { readExit, readFailure } from "./validate.ts";

/** What a stream needs of its client. */
export interface StreamLink {
  readonly out: SendQueue;
  /** Takes the stream out of the client's table. */
  forget(number: number): void;
}

/** What a stream is opened with. */
export interface StreamPlan<Reply> {
  readonly number: number;
  readonly request: Asked;
  readonly readReply: (payload: Uint8Array) => Reply;
  /** Whether data and EXIT follow the reply. */
  readonly streaming: boolean;
  /** Whether it is no activity of the box. */
  readonly background: boolean;
  /** Whether the box process answers it. */
  readonly held: boolean;
  /** Whether its windows are wide. */
  readonly wide: boolean;
}

/** A stream as the read loop feeds it. */
export interface StreamInput {
  readonly rules: StreamRules;
  /** Takes a part of a DATA frame; `last` says whether it ends the frame. */
  data(flags: number, part: Uint8Array<ArrayBuffer>, keep: Keep, last: boolean): void;
  /** Takes any other frame of the agent on this stream, whole. */
  message(type: number, payload: Uint8Array): void;
  /** The connection is gone. */
  lost(error: HutchError): void;
}

/** State of one stream. Nothing here rejects without being handled. */
export class StreamDriver<Reply> implements StreamInput {
  readonly number: number;
  readonly request: Asked;
  readonly rules: StreamRules;
  readonly stdin: OutChannel;
  readonly stdout: InChannel;
  readonly stderr: InChannel;
  readonly #plan: StreamPlan<Reply>;
  readonly #link: StreamLink;
  readonly #reply = Promise.withResolvers<Reply>();
  readonly #exit = Promise.withResolvers<Exit>();
  readonly #closed = Promise.withResolvers<void>();
  /** The host sent CLOSE. */
  #closing = false;
  /** The agent sent ERROR, EXIT or CLOSE, or can't send anything any more. */
  #over = false;

  /** Prepares a stream; {@link StreamDriver.open} sends the request. */
  constructor(plan: StreamPlan<Reply>, link: StreamLink) {
    this.#plan = plan;
    this.#link = link;
    this.number = plan.number;
    this.request = plan.request;
    this.rules = new StreamRules(plan);
    this.stdin = new OutChannel(plan.number, this.rules, (frame) => link.out.send(frame));
    this.stdout = new InChannel((count) => this.#grant(Channel.STDOUT, count));
    this.stderr = new InChannel((count) => this.#grant(Channel.STDERR, count));
    // Whoever doesn't ask for them isn't to be bothered by them.
    this.#reply.promise.catch(() => {});
    this.#exit.promise.catch(() => {});
  }

  /** The agent's answer. */
  get reply(): Promise<Reply> {
    return this.#reply.promise;
  }

  /** How the command ended. */
  get exit(): Promise<Exit> {
    return this.#exit.promise;
  }

  /** Resolves when the stream is over, whatever the reason. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Whether the agent still takes frames for what runs. */
  get running(): boolean {
    return !this.#over && !this.#closing;
  }

  /** Sends the encoded request. */
  open(payload: Uint8Array): void {
    const { background, held, wide } = this.#plan;
    const flags = (background ? BACKGROUND : 0) | (held ? HELD : 0) | (wide ? WIDE : 0);
    this.#link.out.copy(makeFrame(FrameType.OPEN, this.number, payload, flags));
  }

  /** Sends a CONTROL frame's payload; false if nothing runs any more. */
  control(payload: Uint8Array): boolean {
    if (!this.running) return false;
    this.#link.out.copy(makeFrame(FrameType.CONTROL, this.number, payload));
    return true;
  }

  /** Tells the agent to give up; everything pending rejects with `error`. */
  giveUp(error: HutchError): void {
    if (this.running) this.#sendClose();
    this.#settle(error);
  }

  /** Takes a part of a DATA frame; `last` says whether it ends the frame. */
  data(flags: number, part: Uint8Array<ArrayBuffer>, keep: Keep, last: boolean): void {
    if (this.#closing) return;
    if (!this.#plan.streaming) {
      this.giveUp(new HutchError("agent_protocol", `Cannot ${this.#what}: DATA came as answer`));
      return;
    }
    const number = flags & CHANNEL_MASK;
    if (number === Channel.STDIN) return this.stdin.stop(() => unread("has closed it"));
    const channel = number === Channel.STDOUT ? this.stdout : this.stderr;
    channel.push(part, keep);
    if (last && (flags & END) !== 0) channel.end();
  }

  /** Takes any other frame of the agent on this stream, whole. */
  message(type: number, payload: Uint8Array): void {
    if (type === FrameType.CLOSE) return this.#finish();
    if (this.#closing) return;
    try {
      if (type === FrameType.CREDIT) this.stdin.credited();
      else if (type === FrameType.REPLY) this.#reply.resolve(this.#plan.readReply(payload));
      else if (type === FrameType.ERROR) this.#fail(payload);
      else if (type === FrameType.EXIT) this.#exited(payload);
    } catch (error) {
      this.giveUp(
        error instanceof HutchError
          ? error
          : new HutchError("agent_protocol", `Cannot ${this.#what}: its answer is unreadable`, {
            cause: error,
          }),
      );
    }
  }

  /** The connection is gone. */
  lost(error: HutchError): void {
    this.#over = true;
    this.#settle(error);
    this.#closed.resolve();
  }

  get #what(): string {
    return purpose(this.request);
  }

  #sendClose(): void {
    this.#closing = true;
    this.#link.out.copy(makeFrame(FrameType.CLOSE, this.number));
  }

  #grant(channel: number, count: number): void {
    if (this.running && this.rules.granted(channel, count)) {
      this.#link.out.copy(makeCredit(this.number, channel, count));
    }
  }

  #fail(payload: Uint8Array): void {
    const error = failureError(this.request, readFailure(payload));
    this.#over = true;
    this.#settle(error);
  }

  #exited(payload: Uint8Array): void {
    this.#exit.resolve(readExit(payload));
    // All that the command printed has come. What it left behind may hold its pipes for ever, and
    // nobody waits for that.
    if (!this.stdout.ended || !this.stderr.ended) this.#sendClose();
    this.#over = true;
    this.stdout.end();
    this.stderr.end();
    this.stdin.stop(() => unread("has ended"));
  }

  /** The agent's CLOSE: whatever is missing never comes. */
  #finish(): void {
    if (this.running) {
      this.#settle(
        new HutchError("agent_protocol", `Cannot ${this.#what}: its stream ended early`),
      );
    }
    this.#over = true;
    this.#link.forget(this.number);
    this.#closed.resolve();
  }

  /** Rejects what is pending; what is settled stays as it is. */
  #settle(error: HutchError): void {
    this.#reply.reject(error);
    this.#exit.reject(error);
    this.stdout.fail(error);
    this.stderr.fail(error);
    this.stdin.stop(() => error);
  }
}

function unread(why: string): HutchError {
  return new HutchError("broken_pipe", `Cannot write to the command's stdin: the command ${why}`);
}
