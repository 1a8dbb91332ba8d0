/**
 * The commands that a box process holds for whoever comes: they outlive the programs that started
 * them, and how they ended is kept while the box runs.
 *
 * @module
 */
import { makeFrame } from "../guest/codec.ts";
import { type HeldAttach, type HeldStart, MAIN, readHeldAsk } from "../guest/held_messages.ts";
import type { FrameReader } from "../guest/frame_reader.ts";
import { Channel, END, FrameType, MAX_PAYLOAD } from "../guest/protocol.ts";
import type { SendQueue } from "../guest/send_queue.ts";
import { Attachment, type HeldStream } from "./attachment.ts";
import { cborTexts } from "./cbor_texts.ts";
import type { Machine } from "./engine.ts";
import type { GuestLink } from "./guest_link.ts";
import { HeldExecution, type OutputLog } from "./held_execution.ts";
import { Standstill } from "./standstill.ts";

/** What {@link HeldExecutions} works with. */
export interface HeldOptions {
  readonly log: OutputLog;
  /** The main command ended; gets the guest's EXIT payload. */
  readonly mainEnded?: (exit: Uint8Array<ArrayBuffer>) => void;
  /** The machine, where it can stand still while this process goes on. */
  readonly machine?: () => Required<Pick<Machine, "pause" | "resume">> | undefined;
}

/** Held commands that run at once. */
const MOST_RUNNING = 128;
/** Those whose end is kept. */
const MOST_ENDED = 128;
/** What is kept of each output, in bytes: at most, and of all together. */
const KEEP = 256 * 1024;
const KEEP_IN_ALL = 4 * 1024 * 1024;

/** See the module. */
export class HeldExecutions {
  readonly #options: HeldOptions;
  readonly #guest: GuestLink;
  /** To the clients, by way of the relay. */
  readonly #out: SendQueue;
  /** Oldest first. */
  readonly #all: Map<string, HeldExecution> = new Map();
  /** Clients' streams that are open, by the relay's numbers. */
  readonly #streams: Map<number, HeldStream> = new Map();

  /** None yet. */
  constructor(guest: GuestLink, out: SendQueue, options: HeldOptions) {
    this.#guest = guest;
    this.#out = out;
    this.#options = options;
  }

  /** Takes an OPEN; `payload` stays here. */
  open(number: number, payload: Uint8Array<ArrayBuffer>, background: boolean): void {
    const asked = readHeldAsk(payload);
    // Without an answer before it, the relay sends the client away.
    if (!asked) return this.#out.copy(makeFrame(FrameType.CLOSE, number));
    const { ask, request } = asked;
    if (ask.op === "list") return this.#list(number);
    if (ask.op === "pause") return this.#pause(number);
    const known = this.#all.get(ask.id);
    if (ask.op === "attach") {
      if (known) this.#join(known, ask, number);
      else this.#refuse(number, "no_such_execution", "there is none of this id");
      return;
    }
    if (known) return this.#refuse(number, "bad_request", "its id is taken");
    if (this.#count(true) >= MOST_RUNNING) {
      return this.#refuse(number, "busy", "too many run already");
    }
    const execution = new HeldExecution(ask, {
      guest: this.#guest,
      log: this.#options.log,
      keep: () => this.#keep(),
      ended: (ended) => this.#ended(ended),
    });
    this.#all.set(ask.id, execution);
    for (const other of this.#all.values()) other.shrink();
    this.#join(execution, ask, number);
    execution.open(request, background);
  }

  /** Takes any other frame. */
  take(number: number, reader: FrameReader): void {
    this.#streams.get(number)?.take(reader);
  }

  /** The relay has ended, and all clients with it. */
  gone(): void {
    for (const stream of [...this.#streams.values()]) stream.gone();
  }

  #join(execution: HeldExecution, ask: HeldStart | HeldAttach, number: number): void {
    const once = ask.op === "start" && !ask.attach;
    const attachment = new Attachment({
      outputs: execution.outputs,
      get exit() {
        return execution.exit;
      },
      input: (from, bytes, end) => execution.input(from, bytes, end),
      control: (payload) => execution.control(payload),
      moved: () => execution.moved(),
      left: (gone) => {
        this.#streams.delete(number);
        execution.left(gone);
      },
    }, {
      out: this.#out,
      number,
      output: ask.op === "start" ? ask.attach : ask.output,
      replay: ask.op === "start" || ask.replay,
    });
    this.#streams.set(number, attachment);
    execution.attach(attachment, { once });
  }

  #pause(number: number): void {
    const machine = this.#options.machine?.();
    if (!machine) return this.#refuse(number, "failed", "this engine can't pause by itself");
    const over = () => this.#streams.delete(number);
    this.#streams.set(number, new Standstill(machine, { out: this.#out, number, over }));
  }

  #list(number: number): void {
    const list = JSON.stringify([...this.#all.values()].map((each) => each.entry()));
    const bytes = new TextEncoder().encode(list);
    this.#out.copy(makeFrame(FrameType.REPLY, number, cborTexts()));
    for (let at = 0; at < bytes.length; at += MAX_PAYLOAD) {
      const piece = bytes.subarray(at, at + MAX_PAYLOAD);
      this.#out.copy(makeFrame(FrameType.DATA, number, piece, Channel.STDOUT));
    }
    this.#out.copy(makeFrame(FrameType.DATA, number, new Uint8Array(0), Channel.STDOUT | END));
    this.#out.copy(makeFrame(FrameType.CLOSE, number));
  }

  #refuse(number: number, kind: string, message: string): void {
    const payload = cborTexts(["kind", kind], ["errno", 0], ["message", message]);
    this.#out.copy(makeFrame(FrameType.ERROR, number, payload));
    this.#out.copy(makeFrame(FrameType.CLOSE, number));
  }

  #keep(): number {
    return Math.min(KEEP, Math.floor(KEEP_IN_ALL / (2 * Math.max(1, this.#all.size))));
  }

  #count(running: boolean): number {
    let count = 0;
    for (const each of this.#all.values()) if (each.running === running) count++;
    return count;
  }

  #ended(execution: HeldExecution): void {
    if (!execution.started) {
      this.#all.delete(execution.id);
      return;
    }
    execution.shrink();
    if (this.#count(false) > MOST_ENDED) {
      for (const each of this.#all.values()) {
        if (each.running || each.id === MAIN) continue;
        this.#all.delete(each.id);
        break;
      }
    }
    if (execution.id === MAIN && execution.exit) this.#options.mainEnded?.(execution.exit);
  }
}
