/**
 * Machines whose disks find no room on the host: QEMU lets them stand still, and nobody else would let
 * them go on. Loaded by the box process alone.
 *
 * @module
 */
import { after, isObject, type QemuTalk } from "./qemu_control.ts";

/** Between two tries to go on, in `ms`. */
const AGAIN_MS = 1_000;

/** Lets a machine go on that stands still for want of room, as long as nobody has paused it. */
export class RoomWatch {
  readonly #talk: Promise<QemuTalk>;
  readonly #againMs: number;
  #waiting = false;
  /** Whether it is to stand still. */
  paused = false;

  /** @param againMs Between two tries. @default {1000} */
  constructor(talk: Promise<QemuTalk>, againMs: number = AGAIN_MS) {
    this.#talk = talk;
    this.#againMs = againMs;
  }

  /** Hears of what happens to the machine. */
  hear({ event, data }: Readonly<Record<string, unknown>>): void {
    if (event !== "BLOCK_IO_ERROR" || !isObject(data) || data.action !== "stop") return;
    if (this.#waiting) return;
    this.#waiting = true;
    console.error("its disk finds no room on this machine: it stands still until there is some");
    void this.#goOn().catch(console.error).finally(() => this.#waiting = false);
  }

  async #goOn(): Promise<void> {
    const talk = await this.#talk;
    for (;;) {
      await new Promise<void>((resolve) => after(this.#againMs, resolve));
      if (this.paused) continue;
      const now = await talk.ask({ execute: "query-status" });
      if (!isObject(now) || now.status !== "io-error") return;
      await talk.ask({ execute: "cont" }); // where there is no room yet, it stops at once
    }
  }
}
