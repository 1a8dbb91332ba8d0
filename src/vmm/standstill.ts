/**
 * A machine that stands still as long as a client's stream is open.
 *
 * @module
 */
import { makeFrame } from "../guest/codec.ts";
import type { FrameReader } from "../guest/frame_reader.ts";
import { FrameType } from "../guest/protocol.ts";
import type { SendQueue } from "../guest/send_queue.ts";
import type { HeldStream } from "./attachment.ts";
import { cborTexts } from "./cbor_texts.ts";
import type { Machine } from "./engine.ts";
import { after } from "./timer.ts";

/** Between two tries to let a machine go on, in `ms`. */
const AGAIN_MS = 500;
/** So many; then it is gone, or beyond help. */
const TRIES = 20;

/** Whom a machine stands still for. */
export interface StandstillClient {
  readonly out: SendQueue;
  readonly number: number;
  /** The machine goes on. */
  readonly over: () => void;
}

/** Pauses the machine at once, answers, and lets it go on when the stream ends or its client is gone. */
export class Standstill implements HeldStream {
  readonly #machine: Required<Pick<Machine, "pause" | "resume">>;
  readonly #client: StandstillClient;
  readonly #paused: Promise<boolean>;
  #over = false;

  constructor(
    machine: Required<Pick<Machine, "pause" | "resume">>,
    client: StandstillClient,
  ) {
    this.#machine = machine;
    this.#client = client;
    this.#paused = this.#pause();
  }

  /** Nothing but the stream's end makes sense. */
  take(reader: FrameReader): void {
    if (reader.header.type === FrameType.CLOSE) void this.#end();
  }

  /** As if it had closed the stream. */
  gone(): void {
    void this.#end();
  }

  async #pause(): Promise<boolean> {
    try {
      await this.#machine.pause();
      this.#say(makeFrame(FrameType.REPLY, this.#client.number, cborTexts()));
      return true;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const payload = cborTexts(["kind", "failed"], ["errno", 0], ["message", message]);
      this.#say(makeFrame(FrameType.ERROR, this.#client.number, payload));
      void this.#end(); // which waits for this
      return false;
    }
  }

  async #end(): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    // Also where pausing failed: it may have been done all the same.
    await this.#paused.catch(() => false);
    for (let tries = 0; tries < TRIES; tries++) {
      try {
        await this.#machine.resume();
        break;
      } catch (error) {
        console.error(error);
        await new Promise<void>((resolve) => after(AGAIN_MS, resolve));
      }
    }
    this.#client.over();
    this.#say(makeFrame(FrameType.CLOSE, this.#client.number));
  }

  #say(frame: Uint8Array): void {
    this.#client.out.copy(frame);
  }
}
