/**
 * How far a pull is, as its events tell it.
 *
 * @module
 */
import type { PullEvent } from "../images/pull/pull.ts";
import { printable, shortReference } from "./format.ts";

/** The stretch of time that a speed is taken over, in `ms`. */
const WINDOW_MS = 5000;
/** Measurements are at least so far apart, in `ms`: it bounds how many are kept. */
const SAMPLE_MS = 200;
/** No speed is told before so much time was measured, in `ms`. */
const SETTLE_MS = 500;

/** Bytes per second over the last few seconds. Times are in `ms`, of any clock. */
export class Meter {
  readonly #samples: { at: number; bytes: number }[] = [];
  #bytes = 0;

  /** Bytes counted so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Counts `bytes` more; 0 begins the measurement. */
  add(bytes: number, at: number): void {
    this.#bytes += bytes;
    const last = this.#samples.at(-1);
    if (last && this.#samples.length > 1 && at - last.at < SAMPLE_MS) last.bytes = this.#bytes;
    else this.#samples.push({ at, bytes: this.#bytes });
    this.#forget(at);
  }

  /** Bytes per second; undefined as long as too little was measured. */
  rate(now: number): number | undefined {
    this.#forget(now);
    const first = this.#samples[0];
    if (!first) return undefined;
    const ms = now - Math.max(first.at, now - WINDOW_MS);
    return ms < SETTLE_MS ? undefined : (this.#bytes - first.bytes) * 1000 / ms;
  }

  /** Drops what is too old, but for the last measurement before the window. */
  #forget(now: number): void {
    while ((this.#samples[1]?.at ?? Infinity) <= now - WINDOW_MS) this.#samples.shift();
  }
}

/** What happens to a layer. `queued`: nothing yet; `waiting`: another program fetches it. */
export type Phase = "queued" | "fetching" | "waiting" | "checking" | "cached" | "fetched";

/** Something with a bar of its own. Sizes are in bytes. */
export interface Part {
  readonly digest: string;
  phase: Phase;
  done: number;
  total: number;
  meter: Meter;
}

/** What is known of a pull; grows by {@link PullState.take}. */
export class PullState {
  /** In the image's order. */
  readonly layers = new Map<string, Part>();
  /** Bytes fetched by this pull, all layers together. */
  readonly meter = new Meter();
  /** The base disk, once it is being made. */
  disk: Part | undefined;
  /** Whether another program has fetched some of it meanwhile. */
  hasWaited = false;
  /** Whether somebody else makes the base disk. */
  diskWaiting = false;
  /** Whether somebody else was making it. */
  diskWaited = false;
  /** The reference as people write it, with nothing in it that a terminal would obey. */
  name = "";
  /** Of the manifest, once it is known. */
  digest: string | undefined;
  /** How many layers the image has. */
  count = 0;
  /** What its blobs have in all. */
  bytes = 0;
  #startedAt: number | undefined;

  /** Remembers an event; those of types that aren't known here are passed over. */
  take(event: PullEvent, now: number): void {
    this.#startedAt ??= now;
    switch (event.type) {
      case "resolving":
        this.name = printable(shortReference(event.reference));
        break;
      case "resolved":
        this.name = printable(shortReference(event.reference));
        this.digest = event.digest;
        this.count = event.layers;
        this.bytes = event.bytes;
        this.meter.add(0, now);
        break;
      case "layer":
        this.#fetch(this.#layer(event, now), event.done, now);
        break;
      case "layer.waiting":
        this.hasWaited = true;
        this.#layer(event, now).phase = "waiting";
        this.#layer(event, now).done = event.done;
        break;
      case "layer.verify":
        this.#layer(event, now).phase = "checking";
        this.#layer(event, now).done = event.done;
        break;
      case "layer.done": {
        const layer = this.#layer(event, now);
        layer.phase = event.cached ? "cached" : "fetched";
        layer.done = layer.total;
        break;
      }
      case "disk.waiting":
        this.diskWaiting = true;
        this.diskWaited = true;
        break;
      case "disk": {
        const { digest, done, total } = event;
        this.diskWaiting = false;
        this.disk ??= part(digest, total, now);
        this.disk.meter.add(Math.max(done - this.disk.done, 0), now);
        Object.assign(this.disk, { done, total });
        break;
      }
      case "disk.done":
        this.diskWaiting = false;
        break;
      case "done":
        this.name ||= printable(shortReference(event.reference));
        break;
    }
  }

  /** All layers as one: what has been done of their bytes. */
  get total(): { readonly done: number; readonly total: number } {
    let done = 0;
    let total = 0;
    for (const layer of this.layers.values()) {
      done += layer.done;
      total += layer.total;
    }
    return this.layers.size === 0 ? { done: 0, total: this.bytes } : { done, total };
  }

  /** Since the first event, in `ms`. */
  elapsed(now: number): number {
    return now - (this.#startedAt ?? now);
  }

  #layer(event: { readonly digest: string; readonly total: number }, now: number): Part {
    let layer = this.layers.get(event.digest);
    if (!layer) {
      layer = part(event.digest, event.total, now);
      this.layers.set(event.digest, layer);
    }
    layer.total = event.total;
    return layer;
  }

  #fetch(layer: Part, done: number, now: number): void {
    // What was there before, by an earlier pull or another program, says nothing of the speed; nor
    // does a download that starts over.
    const more = Math.max(done - layer.done, 0);
    layer.done = done;
    if (more === 0) return;
    this.meter.add(more, now);
    if (layer.phase === "fetching") {
      layer.meter.add(more, now);
    } else {
      layer.phase = "fetching";
      layer.meter = startedMeter(now); // not from when it was named: it waited for its turn
    }
  }
}

function part(digest: string, total: number, now: number): Part {
  return { digest, phase: "queued", done: 0, total, meter: startedMeter(now) };
}

function startedMeter(now: number): Meter {
  const meter = new Meter();
  meter.add(0, now);
  return meter;
}
