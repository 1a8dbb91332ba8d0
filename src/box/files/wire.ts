/**
 * The frames between host and the agent's programs `files` and `watch`; `ffi/agent/files_request.h`
 * is the other side. What comes from there is checked: the guest is hostile.
 *
 * @module
 */
import { decodeCbor, encodeCbor } from "../../deps.ts";
import { HutchError } from "../../errors.ts";
import { checkWhole } from "./numbers.ts";

/** Bits of a request's `flags`, as `ffi/agent/files_request.h` has them. */
export const Flag = {
  READ: 1,
  WRITE: 2,
  APPEND: 4,
  TRUNCATE: 8,
  CREATE: 16,
  CREATE_NEW: 32,
  SET_MODE: 64,
  RECURSIVE: 128,
  NOT_FOLLOWED: 256,
  DATA_ONLY: 512,
} as const;

/** Most bytes of data in one frame. */
export const MAX_DATA = 256 * 1024;
/** Longest head of a request, and of what the guest says. */
const [MAX_HEAD, MAX_REPLY_HEAD] = [16 * 1024, 4 * 1024];
const LENGTHS = 8;
const MOST_TIME_MS = 8.64e15;

/** What a head may hold. */
export type HeadValue = string | number | boolean | Uint8Array;

/** A request as one frame. Throws `invalid_option` for a number that would end the guest's program. */
export function encodeFrame(
  head: Readonly<Record<string, HeadValue>>,
  data: Uint8Array = new Uint8Array(0),
): Uint8Array<ArrayBuffer> {
  for (const [name, value] of Object.entries(head)) {
    if (typeof value === "number") checkWhole(name, value);
  }
  const map = encodeCbor(head);
  if (map.length > MAX_HEAD) {
    throw new HutchError("limit_exceeded", `Cannot use a path of more than ${MAX_HEAD} bytes`);
  }
  const frame = new Uint8Array(LENGTHS + map.length + data.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, map.length);
  view.setUint32(4, data.length);
  frame.set(map, LENGTHS);
  frame.set(data, LENGTHS + map.length);
  return frame;
}

/** A frame of the guest. Each getter throws `agent_protocol` unless the value is as it must be. */
export class GuestFrame {
  readonly #head: ReadonlyMap<unknown, unknown>;
  /** What follows the head. */
  readonly data: Uint8Array<ArrayBuffer>;

  constructor(head: Uint8Array, data: Uint8Array<ArrayBuffer>) {
    this.#head = decodeHead(head);
    this.data = data;
  }

  has(name: string): boolean {
    return this.#head.has(name);
  }

  /** A whole number; what is over 2^53 loses its last digits, as in `Deno.FileInfo`. */
  number(name: string, least = 0, most: number = Number(2n ** 64n)): number {
    const raw = this.#head.get(name);
    const value = typeof raw === "bigint" ? Number(raw) : raw;
    if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
      throw broken(`${name} isn't a whole number from ${least} to ${most}`);
    }
    return value;
  }

  /** A number, or null if it isn't there. */
  time(name: string): Date | null {
    return this.has(name) ? new Date(this.number(name, -MOST_TIME_MS, MOST_TIME_MS)) : null;
  }

  boolean(name: string): boolean {
    const value = this.#head.get(name);
    if (typeof value !== "boolean") throw broken(`${name} isn't true or false`);
    return value;
  }

  text(name: string): string {
    const value = this.#head.get(name);
    if (typeof value !== "string") throw broken(`${name} isn't text`);
    return value;
  }
}

function decodeHead(bytes: Uint8Array): ReadonlyMap<unknown, unknown> {
  let head: unknown;
  try {
    head = decodeCbor(bytes, { preferMap: true, ignoreGlobalTags: true });
  } catch (cause) {
    throw broken("a head isn't CBOR", cause);
  }
  if (!(head instanceof Map)) throw broken("a head isn't a map");
  return head;
}

/** Cuts what the guest says into frames; it holds one frame at most, whatever lengths it names. */
export class FrameCutter {
  readonly #lengths = new Uint8Array(LENGTHS);
  #head: Uint8Array<ArrayBuffer> = this.#lengths;
  #data: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #at = 0;
  #inLengths = true;

  /** Whether the last chunk ended a frame. */
  get whole(): boolean {
    return this.#inLengths && this.#at === 0;
  }

  /** The frames that end within `chunk`. */
  *cut(chunk: Uint8Array): Generator<GuestFrame> {
    for (let rest = chunk; rest.length > 0;) {
      const into = this.#at < this.#head.length ? this.#head : this.#data;
      const from = into === this.#head ? this.#at : this.#at - this.#head.length;
      const part = rest.subarray(0, into.length - from);
      into.set(part, from);
      rest = rest.subarray(part.length);
      this.#at += part.length;
      if (this.#inLengths && this.#at === LENGTHS) this.#begin();
      else if (!this.#inLengths && this.#at === this.#head.length + this.#data.length) {
        const frame = new GuestFrame(this.#head, this.#data);
        [this.#head, this.#data] = [this.#lengths, new Uint8Array(0)];
        [this.#at, this.#inLengths] = [0, true];
        yield frame;
      }
    }
  }

  #begin(): void {
    const view = new DataView(this.#lengths.buffer);
    const [head, data] = [view.getUint32(0), view.getUint32(4)];
    if (head === 0 || head > MAX_REPLY_HEAD) throw broken(`a head has ${head} bytes`);
    if (data > MAX_DATA) throw broken(`a frame has ${data} bytes of data`);
    [this.#head, this.#data] = [new Uint8Array(head), new Uint8Array(data)];
    [this.#at, this.#inLengths] = [0, false];
  }
}

/** The error for what no honest agent says. */
export function broken(why: string, cause?: unknown): HutchError {
  const options = cause === undefined ? {} : { cause };
  return new HutchError("agent_protocol", `Cannot trust the box's file program: ${why}`, options);
}
