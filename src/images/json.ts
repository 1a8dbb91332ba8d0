/**
 * Reading JSON documents that others wrote, without trusting a field of them.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { parseDigest } from "./digest.ts";

/** A JSON object whose fields aren't known yet. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Reads the fields of one document; every error names the document and the field. */
export class JsonReader {
  readonly #document: string;

  /** `document` is how errors call it, such as `the manifest of debian:12`. */
  constructor(document: string) {
    this.#document = document;
  }

  /** Parses UTF-8 JSON of at most `limit` bytes whose top is an object. */
  parse(bytes: Uint8Array, limit: number): JsonObject {
    if (bytes.length > limit) throw this.fail(`it is larger than ${limit} bytes`);
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch {
      // The parser's message quotes the document, which may be a file that isn't ours to show.
      throw this.fail("it isn't JSON");
    }
    return this.object(value, "its top");
  }

  /** An error of code `invalid_image` about the document. */
  fail(problem: string): HutchError {
    return new HutchError("invalid_image", `Cannot read ${this.#document}: ${problem}`);
  }

  /** An object; throws `invalid_image` for anything else. */
  object(value: unknown, field: string): JsonObject {
    if (!isObject(value)) throw this.fail(`${field} isn't an object`);
    return value;
  }

  /** An array of at most `limit` entries; missing or null counts as empty when `optional`. */
  array(value: unknown, field: string, limit: number, optional = false): readonly unknown[] {
    if (optional && (value === undefined || value === null)) return [];
    if (!Array.isArray(value)) throw this.fail(`${field} isn't a list`);
    if (value.length > limit) throw this.fail(`${field} has more than ${limit} entries`);
    return value;
  }

  /** A text; throws `invalid_image` for anything else. */
  string(value: unknown, field: string): string {
    if (typeof value !== "string") throw this.fail(`${field} isn't text`);
    if (value.includes("\0")) throw this.fail(`${field} has a NUL character`);
    return value;
  }

  /** Text; missing or null is undefined. */
  optionalString(value: unknown, field: string): string | undefined {
    return value === undefined || value === null ? undefined : this.string(value, field);
  }

  /** A list of at most `limit` texts; throws `invalid_image` for anything else. */
  strings(value: unknown, field: string, limit: number): readonly string[] {
    return this.array(value, field, limit, true)
      .map((entry, index) => this.string(entry, `${field}[${index}]`));
  }

  /** An object with text values; missing or null counts as empty. */
  stringMap(value: unknown, field: string, limit: number): Readonly<Record<string, string>> {
    if (value === undefined || value === null) return {};
    const entries = Object.entries(this.object(value, field));
    if (entries.length > limit) throw this.fail(`${field} has more than ${limit} entries`);
    return Object.fromEntries(
      entries.map((
        [key, entry],
      ) => [this.string(key, field), this.string(entry, `${field}.${key}`)]),
    );
  }

  /** A whole number from 0 to `limit`. */
  size(value: unknown, field: string, limit: number): number {
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0 || value > limit) {
      throw this.fail(`${field} isn't a whole number from 0 to ${limit}`);
    }
    return value;
  }

  /** A digest; throws `invalid_image` for anything else. */
  digest(value: unknown, field: string): string {
    try {
      return parseDigest(this.string(value, field));
    } catch (thrown) {
      if (thrown instanceof HutchError) throw thrown;
      throw this.fail(`${field}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    }
  }
}

/** Whether a value of JSON is an object, not a list. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
