/**
 * The user's terminal, made raw.
 *
 * @module
 */
import { helper } from "./library.ts";
import { errnoName, unwrap } from "./result.ts";

/** More than a `struct termios` has, in bytes. */
const SETTINGS = 256;

/**
 * A terminal's mode: as it was, or raw, where each key comes as it is and each byte shows as it is.
 * (Deno's own raw mode goes on turning line feeds into new lines.)
 */
export class TerminalMode {
  readonly #fd: number;
  readonly #saved = new Uint8Array(SETTINGS);
  #raw = false;

  /** For an open descriptor, such as 0. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Changes it; no-op where it is so. Nothing happens while another program has the terminal.
   *
   * @throws HutchError `part_missing`, `home_unusable` for what is no terminal (any more).
   */
  setRaw(raw: boolean): void {
    if (raw === this.#raw) return;
    const { hutch_terminal_raw, hutch_terminal_restore } = helper();
    const result = raw
      ? hutch_terminal_raw(this.#fd, this.#saved, BigInt(SETTINGS))
      : hutch_terminal_restore(this.#fd, this.#saved);
    if (raw && result < 0 && errnoName(result) === "EAGAIN") return;
    unwrap(result, "change the terminal's mode");
    this.#raw = raw;
  }
}
