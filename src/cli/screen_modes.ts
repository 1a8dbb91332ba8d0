/**
 * What a program has changed of a terminal's screen, so that it can be undone for one that was cut
 * off.
 *
 * @module
 */

/** Modes that would be in the way of a shell, as `CSI ? N h` sets them. */
const DISTURBING: readonly number[] = [
  1, // cursor keys
  ...[9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015], // mouse and focus
  ...[47, 1047, 1049], // the other screen
  2004, // marks around pasted text
];
/** The cursor shows. */
const CURSOR = 25;
const ESCAPE = 0x1b;
/** Longest sequence that is looked at, in bytes. */
const MOST = 64;

/** Follows what is printed. */
export class ScreenModes {
  readonly #set = new Set<number>();
  #hidden = false;
  #keypad = false;
  /** The sequence that is coming, without its escape character. */
  #sequence: string | undefined;

  /** Takes what is printed, in any pieces. */
  see(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at++) {
      if (this.#sequence === undefined) {
        at = bytes.indexOf(ESCAPE, at);
        if (at < 0) return;
        this.#sequence = "";
      } else this.#take(bytes[at] ?? 0);
    }
  }

  /** What undoes it. */
  undo(): string {
    const modes = [...this.#set].map((mode) => `\x1b[?${mode}l`);
    if (this.#keypad) modes.push("\x1b>");
    if (this.#hidden) modes.push(`\x1b[?${CURSOR}h`);
    this.#set.clear();
    this.#keypad = this.#hidden = false;
    return modes.join("");
  }

  #take(byte: number): void {
    const sequence = (this.#sequence ?? "") + String.fromCharCode(byte);
    this.#sequence = byte === ESCAPE ? "" : sequence;
    if (byte === ESCAPE) return;
    const parameters = /^\[\?([\d;]*)([hl])$/.exec(sequence);
    if (parameters) {
      for (const mode of (parameters[1] ?? "").split(";")) {
        this.#change(Number(mode), parameters[2] === "h");
      }
    } else if (sequence === "=" || sequence === ">") {
      this.#keypad = sequence === "=";
    } else if (/^\[[\x20-\x3f]*$/.test(sequence) && sequence.length < MOST) return;
    this.#sequence = undefined;
  }

  #change(mode: number, on: boolean): void {
    if (mode === CURSOR) this.#hidden = !on;
    if (!DISTURBING.includes(mode)) return;
    if (on) this.#set.add(mode);
    else this.#set.delete(mode);
  }
}
