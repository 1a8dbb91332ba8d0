/**
 * A box's log on the disk: a folder of files with rising numbers, of which the oldest go. Each line
 * is an entry as JSON. Small, since the box process loads it.
 *
 * @module
 */

/** How much of a log is kept. */
export interface LogLimits {
  /** Size of a file before the next one begins, in bytes. */
  readonly maxBytes: number;
  /** Files that are kept, the present one included. */
  readonly files: number;
}

/** Where an entry came from, within its source. */
export type LogStream = "stdout" | "stderr" | "console";

/** One line of a file. Exactly one of `text`, `base64` and `lost` is there. */
export interface LogLine {
  /** When the box process got it, ISO 8601. */
  readonly time: string;
  /** `main`, a detached execution's id, or `console`. */
  readonly source: string;
  readonly stream: LogStream;
  readonly text?: string;
  /** Bytes that aren't UTF-8. */
  readonly base64?: string;
  /** So many bytes came before this and couldn't be written, for want of room. */
  readonly lost?: number;
}

const NAME = /^(\d{8})\.jsonl$/;

/** The name of the file with a number. */
export function logFileName(number: number): string {
  return `${String(number).padStart(8, "0")}.jsonl`;
}

/** The numbers of the files that are there, rising; none where there is no folder. */
export function logNumbers(folder: string): number[] {
  try {
    return [...Deno.readDirSync(folder)].flatMap(({ name }) => {
      const match = NAME.exec(name);
      return match ? [Number(match[1])] : [];
    }).sort((a, b) => a - b);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Reads a line; undefined for what isn't one, such as half of one that a full disk left. */
export function parseLogLine(line: string): LogLine | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  return isLine(value) ? value : undefined;
}

function isLine(value: unknown): value is LogLine {
  if (typeof value !== "object" || value === null) return false;
  const line: Readonly<Record<string, unknown>> = { ...value };
  return typeof line.time === "string" && typeof line.source === "string" &&
    (line.stream === "stdout" || line.stream === "stderr" || line.stream === "console") &&
    (typeof line.text === "string" || typeof line.base64 === "string" ||
      typeof line.lost === "number");
}
