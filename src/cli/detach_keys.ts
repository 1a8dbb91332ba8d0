/**
 * The keys that let go of a command on a terminal.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { ByteSource } from "./io.ts";

/** As Docker has them. */
export const USUAL_DETACH_KEYS = "ctrl-p,ctrl-q";

/**
 * The bytes of keys such as `ctrl-p,ctrl-q` or `a,b`; of an empty text none, which is never typed.
 *
 * @param where What said so, for the error.
 * @throws HutchError `invalid_option`.
 */
export function parseDetachKeys(text: string, where: string): number[] {
  if (text === "") return [];
  return text.split(",").map((key) => {
    const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(key)?.[1];
    if (control !== undefined) return control.toUpperCase().charCodeAt(0) - 64;
    if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0);
    throw new HutchError(
      "invalid_option",
      `Cannot read ${where}: ${JSON.stringify(key)} is no key`,
      { hint: "give keys such as ctrl-p,ctrl-q or a,b; ctrl- goes with a-z @ [ \\ ] ^ _" },
    );
  });
}

/**
 * What is typed, without the keys: `typed` is told of them, and where it says that this is the end,
 * nothing more comes. Keys that are a beginning of them wait for the next one.
 */
export class DetachableInput implements ByteSource {
  readonly #source: ByteSource;
  readonly #keys: readonly number[];
  readonly #typed: () => boolean;
  #held: number[] = [];

  constructor(source: ByteSource, keys: readonly number[], typed: () => boolean) {
    this.#source = source;
    this.#keys = keys;
    this.#typed = typed;
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    if (this.#keys.length === 0) return await this.#source.read(buffer);
    const part = new Uint8Array(Math.max(1, buffer.length - this.#keys.length));
    for (;;) {
      const count = await this.#source.read(part);
      const passed = count === null ? this.#held.splice(0) : this.#pass(part.subarray(0, count));
      if (!passed) return await new Promise<never>(() => {});
      buffer.set(passed);
      if (passed.length > 0) return passed.length;
      if (count === null) return null;
    }
  }

  /** What of the bytes is the command's; undefined when the keys ended it. */
  #pass(bytes: Uint8Array): number[] | undefined {
    const passed: number[] = [];
    for (const byte of bytes) {
      this.#held.push(byte);
      while (!this.#held.every((held, index) => held === this.#keys[index])) {
        passed.push(...this.#held.splice(0, 1));
      }
      if (this.#held.length < this.#keys.length) continue;
      this.#held = [];
      if (this.#typed()) return undefined;
    }
    return passed;
  }
}
