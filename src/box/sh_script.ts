/**
 * A template's pieces and values as one shell script.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { ShellScanner } from "./sh_scan.ts";

/** Shell text that {@link rawShell} marked. */
export class ShellText {
  /** The text as it goes into the script. */
  readonly text: string;

  /** See {@link rawShell}. */
  constructor(text: string) {
    this.text = text;
  }
}

/** A value that becomes one word. */
export type ShellWord = string | number | bigint | ShellText;

/** A value of `` box.sh`…` ``: a word, or an array of them for as many words. */
export type ShellValue = ShellWord | readonly ShellWord[];

/**
 * Marks text that `` box.sh`…` `` puts into its script as it is, for the shell to read: pipes,
 * options to be split, `$variables`. Never give it what others wrote.
 *
 * @example
 * ```ts
 * import { rawShell, Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * const filter = rawShell("| sort -r");
 * console.log(await box.sh`seq 3 ${filter}`.text()); // "3\n2\n1"
 * ```
 */
export function rawShell(text: string): ShellText {
  return new ShellText(text);
}

/**
 * A word that a POSIX shell reads as exactly this text.
 *
 * @throws HutchError `invalid_option` for text that no argument can be: with NUL, or with half a
 * surrogate pair.
 */
export function quoteShell(text: string): string {
  if (text.includes("\0")) refuse("it has a NUL character");
  if (!text.isWellFormed()) refuse("it isn't well-formed Unicode");
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * The script of a template: its own text as it is written (backslashes too), values quoted.
 *
 * @throws HutchError `invalid_option` for a value that can't be a word, or that stands where the
 * shell wouldn't read it as one.
 */
export function shellScript(pieces: readonly string[], values: readonly ShellValue[]): string {
  const scanner = new ShellScanner();
  let script = "";
  const add = (text: string): void => {
    scanner.feed(text);
    script += text;
  };
  for (const [index, piece] of pieces.entries()) {
    add(piece);
    if (index >= values.length) continue;
    const value: unknown = values[index];
    const words: readonly unknown[] = Array.isArray(value) ? value : [value];
    for (const [at, word] of words.entries()) {
      if (at > 0) add(" ");
      add(word instanceof ShellText ? word.text : wordText(word, scanner));
    }
  }
  if (script.includes("\0")) refuse("the script has a NUL character");
  return script;
}

function wordText(word: unknown, scanner: ShellScanner): string {
  if (typeof word !== "string" && typeof word !== "number" && typeof word !== "bigint") {
    const what = word === null
      ? "null"
      : Array.isArray(word)
      ? "an array in an array"
      : typeof word;
    refuse(`it is ${what === "object" ? "an object" : what}, not a text or number`);
  }
  const text = String(word);
  if (scanner.arithmetic && /^-?\d+$/.test(text)) return text;
  const { problem } = scanner;
  if (problem !== undefined) {
    refuse(`it is ${problem}`, {
      hint:
        "values are quoted already: leave quotes around them out, or give them as variables with .env()",
    });
  }
  return quoteShell(text);
}

function refuse(why: string, options: { hint?: string } = {}): never {
  throw new HutchError("invalid_option", `Cannot put a value into a shell script: ${why}`, options);
}
