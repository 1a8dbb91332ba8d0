/**
 * Where in a shell script a text ends: a quoted value is one only where the shell reads quotes.
 *
 * @module
 */

/**
 * What is open: `(` groups, `$(` commands, `((` arithmetic with its inner `a(` and its half-closed
 * `)`, `${` parameters, and the two quotes that have an inside of their own.
 */
type Open = "(" | "$(" | "((" | "a(" | ")" | "${" | '"' | "`";

const ARITHMETIC = "in arithmetic and no whole number";
/** Why there is no place for a quoted value in some of them. */
const INSIDE: Readonly<Partial<Record<Open, string>>> = {
  ...{ '"': "within quotes", "`": "within backquotes", "${": "within ${…}" },
  ...{ "((": ARITHMETIC, "a(": ARITHMETIC, ")": ARITHMETIC },
};
const WORD = /[A-Za-z0-9_]/;
/** What ends a word, so that `#` after it begins a comment. */
const BREAKS = " \t\n;&|()<>";

/**
 * Follows a POSIX shell through a script, and also where `bash` and `ash` differ. Where it can't be
 * sure, it says so: it is better to refuse a value than to let it be run.
 */
export class ShellScanner {
  readonly #open: Open[] = [];
  #single = false;
  #comment = false;
  #escaped = false;
  /** The last character, if it was read as itself. */
  #last = "\n";
  #word = "";
  /** After `>&` or `<&`, whose word bash expands once more; `begun`: some of the word was there. */
  #copies: "no" | "yes" | "begun" = "no";
  #unsure: string | undefined;

  /** Reads on. */
  feed(text: string): void {
    for (const character of text) {
      this.#take(character);
      if (!WORD.test(character)) this.#word = "";
      else if ((this.#word += character) === "case" && this.#open.includes('"')) {
        this.#unsure = "after a `case` within quotes"; // its `)` isn't the end of a `$(`
      }
    }
  }

  /** Whether the end is within `$((…))`, where quotes have no meaning. */
  get arithmetic(): boolean {
    const top = this.#open.at(-1);
    return this.#unsure === undefined && (top === "((" || top === "a(");
  }

  /** Why no quoted value can follow, to come after "it is"; undefined if one can. */
  get problem(): string | undefined {
    if (this.#unsure !== undefined) return this.#unsure;
    if (this.#single) return "within quotes";
    if (this.#comment) return "in a comment";
    if (this.#escaped) return "after a backslash";
    if (this.#copies !== "no") return "where a file is copied, after >& or <&";
    const top = this.#open.at(-1);
    const inside = top === undefined ? undefined : INSIDE[top];
    return inside ?? (this.#last === "$" ? "after a $" : undefined);
  }

  #take(character: string): void {
    const last = this.#last;
    this.#last = character;
    if (this.#single) this.#single = character !== "'";
    else if (this.#comment) this.#comment = character !== "\n";
    else if (this.#escaped) {
      this.#escaped = false;
      this.#last = "\\";
    } else if (character === "\\") this.#escaped = true;
    else this.#takeIn(this.#open.at(-1), character, last);
  }

  #takeIn(top: Open | undefined, character: string, last: string): void {
    if (top === ")" && character !== ")") this.#unsure = "after what may be arithmetic";
    else if (top === "`") {
      if (character === "`") this.#close();
    } else if (top === "${") {
      if (character === "}") this.#close();
      else if (!/[A-Za-z0-9_#?@*!$-]/.test(character)) {
        this.#unsure = "after a ${…} with words in it";
      }
    } else if (last === "$" && character === "{") this.#open.push("${");
    else if (last === "$" && character === "(") this.#open.push("$(");
    else if (character === "(" && last === "(" && (top === "(" || top === "$(")) this.#arithmetic();
    else if (top === '"') this.#takeQuoted(character);
    else if (top === "((" || top === "a(" || top === ")") this.#takeArithmetic(top, character);
    else this.#takePlain(top, character, last);
  }

  #takeQuoted(character: string): void {
    if (character === '"') this.#close();
    else if (character === "`") this.#open.push("`");
  }

  #takeArithmetic(top: Open, character: string): void {
    if (character === "(") this.#open.push("a(");
    else if (character === ")" && top === "((") this.#open.splice(-1, 1, ")");
    else if (character === ")") this.#close();
    else if ("'\"`".includes(character)) this.#unsure = "after quotes in arithmetic";
  }

  #takePlain(top: Open | undefined, character: string, last: string): void {
    if (character === "&" && (last === ">" || last === "<")) this.#copies = "yes";
    else if (this.#copies !== "no" && !BREAKS.includes(character)) this.#copies = "begun";
    else if (this.#copies === "begun" || !" \t".includes(character)) this.#copies = "no";
    if (character === "'") {
      this.#single = true;
      if (last === "$") this.#unsure = "after a $'…'"; // an escape in it, or a quote's end?
    } else if (character === '"' || character === "`" || character === "(") {
      this.#open.push(character);
    } else if (character === ")") {
      if (top === "(" || top === "$(") this.#close();
    } else if (character === "#" && last === "))") this.#unsure = "after arithmetic and a #";
    else if (character === "#" && last !== "" && BREAKS.includes(last)) this.#comment = true;
    else if (character === "<" && last === "<") this.#unsure = "after a here-document's <<";
  }

  /** The second `(` of two. */
  #arithmetic(): void {
    this.#open.splice(-1, 1, "((");
  }

  #close(): void {
    const top = this.#open.pop();
    // Nothing that a `$` or `(` could go on from. A group ends a word, and arithmetic may; all else is part of one.
    this.#last = top === "(" ? ")" : top === ")" ? "))" : "";
  }
}
