/**
 * Writing to a connection from many places: in order, whole, with as few writes as there can be.
 *
 * @module
 */

/** Where bytes go; `Deno.Conn` is one. */
export interface ByteSink {
  /** Writes some of `bytes` and says how many. */
  write(bytes: Uint8Array): Promise<number>;
}

interface Entry {
  bytes: Uint8Array<ArrayBuffer>;
  /** How much of `bytes` counts. */
  length: number;
  /** Whether `bytes` is the queue's own, to append to. */
  readonly owned: boolean;
  readonly done: (() => void) | undefined;
}

/** Copied bytes are gathered up to this size for one write. */
const GATHER = 64 * 1024;
/** From this size on they are gathered in full-size memory, which is used again. */
const SMALL = 4 * 1024;

/** A queue in front of a connection's writes. Nothing here throws or rejects. */
export class SendQueue {
  readonly #sink: ByteSink;
  readonly #failed: (error: unknown) => void;
  /** Those before `#head` are gone, so that nothing is moved up for each. */
  #entries: (Entry | undefined)[] = [];
  #head = 0;
  #pumping = false;
  #stopped = false;
  #waiters: { readonly bytes: number; readonly resolve: () => void }[] = [];
  #queued = 0;
  #peak = 0;
  /** Memory for gathering; without it, garbage piles up faster than it is collected. */
  #spare: Uint8Array<ArrayBuffer> | undefined;

  /** Writes to `sink`; `failed` is called at most once, when a write didn't work. */
  constructor(sink: ByteSink, failed: (error: unknown) => void) {
    this.#sink = sink;
    this.#failed = failed;
  }

  /** Bytes that wait or are being written. */
  get queuedBytes(): number {
    return this.#queued;
  }

  /** The most bytes that ever waited. */
  get peakBytes(): number {
    return this.#peak;
  }

  /** Queues `bytes` without a copy; they mustn't change until `done`, which is always called. */
  push(bytes: Uint8Array<ArrayBuffer>, done: () => void): void {
    if (this.#stopped || bytes.length === 0) return done();
    this.#add({ bytes, length: bytes.length, owned: false, done });
  }

  /** Queues `bytes` without a copy and waits until they are written, or never will be. */
  send(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    return new Promise((resolve) => this.push(bytes, resolve));
  }

  /** Queues a copy of `bytes`. */
  copy(bytes: Uint8Array): void {
    if (this.#stopped || bytes.length === 0) return;
    const last = this.#head < this.#entries.length ? this.#entries.at(-1) : undefined;
    if (last?.owned && last.length + bytes.length <= GATHER) {
      const needed = last.length + bytes.length;
      if (needed > last.bytes.length) {
        const grown = this.#memory(needed);
        grown.set(last.bytes.subarray(0, last.length));
        last.bytes = grown;
      }
      last.bytes.set(bytes, last.length);
      last.length = needed;
      this.#count(bytes.length);
    } else {
      const memory = this.#memory(bytes.length);
      memory.set(bytes);
      this.#add({ bytes: memory, length: bytes.length, owned: true, done: undefined });
    }
  }

  /** Resolves when at most `bytes` wait, or nothing will be written any more. */
  drained(bytes = 0): Promise<void> {
    if (this.#stopped || this.#queued <= bytes) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ bytes, resolve }));
  }

  /** Drops what waits, now and later. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    const dropped = this.#entries.slice(this.#head);
    this.#entries = [];
    this.#head = 0;
    // What is being written keeps its bytes until that write returns.
    for (const entry of dropped) {
      if (!entry) continue;
      this.#queued -= entry.length;
      entry.done?.();
    }
    this.#wake();
  }

  #add(entry: Entry): void {
    this.#entries.push(entry);
    this.#count(entry.length);
    if (!this.#pumping) void this.#pump();
  }

  #memory(size: number): Uint8Array<ArrayBuffer> {
    if (size <= SMALL / 4) return new Uint8Array(size);
    if (size <= SMALL || size > GATHER) return new Uint8Array(Math.max(size, SMALL));
    const spare = this.#spare;
    this.#spare = undefined;
    return spare ?? new Uint8Array(GATHER);
  }

  #count(bytes: number): void {
    this.#queued += bytes;
    if (this.#queued > this.#peak) this.#peak = this.#queued;
  }

  #shift(): Entry | undefined {
    const entry = this.#entries[this.#head];
    if (entry === undefined) return undefined;
    this.#entries[this.#head] = undefined;
    this.#head++;
    if (this.#head === this.#entries.length) {
      this.#entries.length = 0;
      this.#head = 0;
    } else if (this.#head >= 1024) {
      this.#entries.splice(0, this.#head);
      this.#head = 0;
    }
    return entry;
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    for (let entry = this.#shift(); entry !== undefined; entry = this.#shift()) {
      try {
        await this.#write(entry);
      } catch (error) {
        const first = !this.#stopped;
        this.stop();
        if (first) this.#failed(error);
      }
      this.#queued -= entry.length;
      if (entry.owned && entry.bytes.length === GATHER) this.#spare = entry.bytes;
      entry.done?.();
      this.#wake();
    }
    this.#pumping = false;
  }

  async #write(entry: Entry): Promise<void> {
    let at = 0;
    while (at < entry.length && !this.#stopped) {
      const whole = at === 0 && entry.length === entry.bytes.length;
      const part = whole ? entry.bytes : entry.bytes.subarray(at, entry.length);
      const count = await this.#sink.write(part);
      if (count === 0) throw new Error("the connection takes no bytes");
      at += count;
    }
  }

  #wake(): void {
    if (this.#waiters.length === 0) return;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) {
      if (this.#stopped || this.#queued <= waiter.bytes) waiter.resolve();
      else this.#waiters.push(waiter);
    }
  }
}
