/**
 * A pull's progress as lines, where there is no terminal to draw on.
 *
 * @module
 */
import type { PullEvent } from "../images/pull/pull.ts";
import { formatBytes, short } from "./format.ts";
import { formatLeft } from "./progress_frame.ts";
import type { Part, PullState } from "./progress_state.ts";

/** Time between two lines that say how far something is, in `ms`. */
const LINE_MS = 10_000;

/** Chooses the lines; a log isn't filled with them. */
export class PlainLines {
  #toldAt: number | undefined;
  readonly #waiting = new Set<string>();
  #disk = false;

  /** The line for an event that `state` has taken, or undefined when it isn't worth one. */
  on(event: PullEvent, state: PullState, now: number): string | undefined {
    this.#toldAt ??= now;
    const { name } = state;
    switch (event.type) {
      case "resolved": {
        const layers = `${event.layers} layer${event.layers === 1 ? "" : "s"}`;
        return `${name}: ${short(event.digest)}, ${layers}, ${formatBytes(event.bytes)}`;
      }
      case "layer":
        return this.#now(now, () => this.#going(name, state, now));
      case "layer.waiting":
        if (this.#waiting.has(event.digest)) return undefined;
        this.#waiting.add(event.digest);
        return `${short(event.digest)}: waiting for another program that fetches it`;
      case "layer.done":
        // Those that were here are counted at the end: a big image has many of them.
        if (event.cached) return undefined;
        return `${short(event.digest)}: fetched, ${formatBytes(event.total)}`;
      case "disk.waiting":
        if (this.#waiting.has("disk")) return undefined;
        this.#waiting.add("disk");
        return `${name}: waiting for another program that makes the base disk`;
      case "disk":
        if (this.#disk) {
          return this.#now(now, () => state.disk && this.#making(name, state.disk, now));
        }
        this.#disk = true;
        return `${name || short(event.digest)}: making the base disk`;
      default:
        return undefined;
    }
  }

  #now(now: number, line: () => string | undefined): string | undefined {
    if (now - (this.#toldAt ?? now) < LINE_MS) return undefined;
    this.#toldAt = now;
    return line();
  }

  #going(name: string, state: PullState, now: number): string {
    const { done, total } = state.total;
    const rate = state.meter.rate(now);
    const speed = rate === undefined ? "" : `${formatBytes(Math.round(rate))}/s`;
    const sizes = `${formatBytes(done)} of ${formatBytes(total)}`;
    return [`${name}: ${sizes}`, speed, formatLeft(total - done, rate)].filter(Boolean).join(", ");
  }

  #making(name: string, { done, total, meter }: Part, now: number): string {
    const left = formatLeft(total - done, meter.rate(now));
    const sizes = `${formatBytes(done)} of ${formatBytes(total)} in the base disk`;
    return [`${name}: ${sizes}`, left].filter(Boolean).join(", ");
  }
}
