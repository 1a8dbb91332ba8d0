/**
 * The commands that a box process holds for whoever comes: they outlive the programs that started
 * them, and how they ended is kept while the box runs.
 *
 * @module
 */
import { makeFrame } from "../guest/codec.ts";
import { type HeldAttach, type HeldStart, MAIN, readHeldAsk } from "../guest/held_messages.ts";
import { Channel, END, FrameType } from "../guest/protocol.ts";
import { Attachment } from "./attachment.ts";
import { cborTexts } from "./cbor_texts.ts";
import { HeldExecution, type OutputLog } from "./held_execution.ts";
import type { Machine } from "./engine.ts";
import type { RelayClient } from "./relay_client.ts";
import type { RelayStream, StreamOwner } from "./relay_streams.ts";
import { Standstill } from "./standstill.ts";

/** What {@link HeldExecutions} works with. */
export interface HeldOptions {
  readonly log: OutputLog;
  /** The main command ended; gets the guest's EXIT payload. */
  readonly mainEnded?: (exit: Uint8Array<ArrayBuffer>) => void;
  /** The machine, where it can stand still while this process goes on. */
  readonly machine?: () => Required<Pick<Machine, "pause" | "resume">> | undefined;
}

/** The guest, as held commands reach it. */
export interface HeldGuest {
  /** Sends a frame. */
  send(frame: Uint8Array): void;
  /** A new stream; undefined if the guest has as many as it may. */
  stream(owner: StreamOwner, background: boolean): RelayStream<StreamOwner> | undefined;
}

/** Held commands that run at once. */
const MOST_RUNNING = 128;
/** Those whose end is kept. */
const MOST_ENDED = 128;
/** Streams of clients that are joined with them, in all. */
const MOST_ATTACHED = 1024;
/** What is kept of each output, in bytes: at most, and of all together. */
const KEEP = 256 * 1024;
const KEEP_IN_ALL = 4 * 1024 * 1024;

/** See the module. */
export class HeldExecutions {
  readonly #options: HeldOptions;
  readonly #guest: HeldGuest;
  /** Oldest first. */
  readonly #all: Map<string, HeldExecution> = new Map();
  #attached = 0;

  /** None yet. */
  constructor(guest: HeldGuest, options: HeldOptions) {
    this.#guest = guest;
    this.#options = options;
  }

  /** Takes a client's OPEN; false when the client broke the protocol. */
  open(
    client: RelayClient,
    number: number,
    { payload, background }: {
      readonly payload: Uint8Array<ArrayBuffer>;
      readonly background: boolean;
    },
  ): boolean {
    const asked = readHeldAsk(payload);
    if (!asked) return false;
    const { ask, request } = asked;
    if (ask.op === "list") return this.#list(client, number);
    if (ask.op === "pause") return this.#pause(client, number);
    if (this.#attached >= MOST_ATTACHED) return busy(client, number, "too many are joined already");
    const known = this.#all.get(ask.id);
    if (ask.op === "attach") {
      if (!known) return refuse(client, number, "no_such_execution", "there is none of this id");
      this.#join(known, ask, client, number);
      return true;
    }
    if (known) return refuse(client, number, "bad_request", "its id is taken");
    if (this.#count(true) >= MOST_RUNNING) return busy(client, number, "too many run already");
    const execution = new HeldExecution(ask, {
      send: (frame) => this.#guest.send(frame),
      log: this.#options.log,
      keep: () => this.#keep(),
      ended: (ended) => this.#ended(ended),
    });
    const stream = this.#guest.stream(execution, background);
    if (!stream) return busy(client, number, "too many streams");
    this.#all.set(ask.id, execution);
    for (const other of this.#all.values()) other.shrink();
    this.#join(execution, ask, client, number);
    execution.open(stream, request);
    return true;
  }

  #join(
    execution: HeldExecution,
    ask: HeldStart | HeldAttach,
    client: RelayClient,
    number: number,
  ): void {
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
        this.#attached--;
        execution.left(gone);
      },
    }, {
      client,
      number,
      output: ask.op === "start" ? ask.attach : ask.output,
      replay: ask.op === "start" || ask.replay,
    });
    this.#attached++;
    client.held.set(number, attachment);
    execution.attach(attachment, { once });
  }

  #pause(client: RelayClient, number: number): boolean {
    const machine = this.#options.machine?.();
    if (!machine) return refuse(client, number, "failed", "this engine can't pause by itself");
    client.held.set(number, new Standstill(machine, client, number));
    return true;
  }

  #list(client: RelayClient, number: number): boolean {
    const list = JSON.stringify([...this.#all.values()].map((each) => each.entry()));
    const bytes = new TextEncoder().encode(list);
    return client.say(makeFrame(FrameType.REPLY, number, cborTexts())) &&
      client.say(makeFrame(FrameType.DATA, number, bytes, Channel.STDOUT | END)) &&
      client.say(makeFrame(FrameType.CLOSE, number));
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

function busy(client: RelayClient, number: number, message: string): boolean {
  return refuse(client, number, "busy", message);
}

/** Answers ERROR and CLOSE; false if the client has too much to read. */
function refuse(client: RelayClient, number: number, kind: string, message: string): boolean {
  const payload = cborTexts(["kind", kind], ["errno", 0], ["message", message]);
  return client.say(makeFrame(FrameType.ERROR, number, payload)) &&
    client.say(makeFrame(FrameType.CLOSE, number));
}
