/**
 * A terminal in memory: as much of one as progress bars ask for. What it doesn't know is an error.
 *
 * @module
 */

/** Shows text and obeys a few control sequences, on a grid that scrolls. */
export class Terminal {
  #columns: number;
  readonly #height: number;
  /** What scrolled away, then what shows. */
  #lines: string[] = [""];
  #row = 0;
  #column = 0;

  constructor({ columns, rows }: { readonly columns: number; readonly rows: number }) {
    this.#columns = columns;
    this.#height = rows;
  }

  /** All lines, those that scrolled away too, without trailing blanks and blank lines. */
  get text(): string {
    return this.#lines.map((line) => line.trimEnd()).join("\n").trimEnd();
  }

  /** Lines that were ever needed. */
  get lines(): number {
    return this.#lines.length;
  }

  /** Gets narrower: lines that are too long now are broken, as most terminals do it. */
  narrow(columns: number): void {
    this.#columns = columns;
    const broken = this.#lines.map((line) =>
      line.match(new RegExp(`.{1,${columns}}`, "gu")) ?? [""]
    );
    this.#row = broken.slice(0, this.#row).flat().length;
    this.#lines = broken.flat();
  }

  /** Takes a terminal's input. */
  write(text: string): void {
    // deno-lint-ignore no-control-regex -- they are what a terminal looks for
    const parts = text.matchAll(/\x1b\[([?\d;]*)([A-Za-z])|([\x00-\x1f\x7f])|([^\x00-\x1f\x7f])/gu);
    for (const [whole, parameter = "", final, control, char] of parts) {
      if (char !== undefined) this.#put(char);
      else if (control !== undefined) this.#control(control);
      else this.#sequence(parameter, final ?? "", whole);
    }
  }

  get #top(): number {
    return Math.max(this.#lines.length - this.#height, 0);
  }

  #put(char: string): void {
    if (this.#column === this.#columns) {
      this.#column = 0;
      this.#down();
    }
    const line = (this.#lines[this.#row] ?? "").padEnd(this.#column);
    this.#lines[this.#row] = line.slice(0, this.#column) + char + line.slice(this.#column + 1);
    this.#column++;
  }

  #down(): void {
    this.#row++;
    if (this.#row === this.#lines.length) this.#lines.push("");
  }

  #control(control: string): void {
    if (control === "\n") {
      // As a terminal's driver has it: a line's end is a carriage return, too.
      this.#column = 0;
      this.#down();
    } else if (control === "\r") this.#column = 0;
    else if (control === "\b") this.#column = Math.max(this.#column - 1, 0);
    else throw new Error(`unknown control ${JSON.stringify(control)}`);
  }

  #sequence(parameter: string, final: string, whole: string): void {
    const count = Number(parameter || 1);
    const line = this.#lines[this.#row] ?? "";
    if (final === "A") this.#row = Math.max(this.#row - count, this.#top);
    else if (final === "B") {
      for (let left = count; left > 0 && this.#row < this.#top + this.#height - 1; left--) {
        this.#down();
      }
    } else if (final === "G" && parameter === "") this.#column = 0;
    else if (final === "K" && parameter === "2") this.#lines[this.#row] = "";
    else if (final === "K" && parameter === "") {
      this.#lines[this.#row] = line.slice(0, this.#column);
    } else if (parameter !== "?2026") throw new Error(`unknown sequence ${JSON.stringify(whole)}`);
  }
}
