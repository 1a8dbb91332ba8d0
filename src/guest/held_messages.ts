/**
 * What clients ask of the box process: about commands that it holds, which outlive the program that
 * started them, and to let its machine stand still. The payload of an OPEN with the flag HELD is a line of JSON, then a newline,
 * then, for `start`, the request for the guest as it would be sent otherwise. Small and free of
 * imports, since the box process loads it.
 *
 * REPLY, EXIT and the guest's ERROR are the guest's own payloads. The list is one JSON text on the
 * standard output's channel.
 *
 * @module
 */

/** The id of a box's main command. */
export const MAIN = "main";
/** Largest line of JSON, in bytes. */
export const MOST_HEAD = 3 * 1024;
/** What of a command line is shown, in UTF-16 units. */
const MOST_SHOWN = 500;

/** Starts a command; its streams are those of an attachment, or none. */
export interface HeldStart {
  readonly op: "start";
  /** {@link MAIN}, or 8 to 32 hexadecimal digits that its starter made up. */
  readonly id: string;
  /** For lists; cut short. */
  readonly command: readonly string[];
  /** Whether it reads a standard input. */
  readonly stdin: boolean;
  /** Whether it has a terminal; what is typed there, and shown, isn't written down. */
  readonly tty: boolean;
  /** Whether the stream stays joined with it once it runs. */
  readonly attach: boolean;
}

/** Joins a command: what it printed last, what it prints from now on, its end. */
export interface HeldAttach {
  readonly op: "attach";
  readonly id: string;
  /** Whether what it prints is wanted; its end always is. */
  readonly output: boolean;
  /** Whether what is kept of its output comes first. */
  readonly replay: boolean;
}

/** Asks for all that are held, the oldest first. */
export interface HeldList {
  readonly op: "list";
}

/** Lets the machine stand still until the stream ends, by whatever: the client's end too. */
export interface HeldPause {
  readonly op: "pause";
}

/** The line of JSON. */
export type HeldAsk = HeldStart | HeldAttach | HeldList | HeldPause;

/** One command in the list. */
export interface HeldEntry {
  readonly id: string;
  readonly command: readonly string[];
  readonly tty: boolean;
  /** In `ms` since 1970. */
  readonly startedMs: number;
  /** In `ms` since 1970; null while it runs. */
  readonly endedMs: number | null;
  /** The guest's EXIT payload, as base64; null while it runs. */
  readonly exit: string | null;
}

/** Whether a text can be the id of a held command. */
export function isHeldId(text: unknown): text is string {
  return typeof text === "string" && (text === MAIN || /^[0-9a-f]{8,32}$/.test(text));
}

/** A command line as lists show it. */
export function shownCommand(argv: readonly (string | Uint8Array)[]): string[] {
  const shown: string[] = [];
  let left = MOST_SHOWN;
  for (const each of argv) {
    const word = typeof each === "string" ? each : new TextDecoder().decode(each);
    if (left <= 0) break;
    shown.push(word.length > left ? `${word.slice(0, left)}…`.toWellFormed() : word);
    left -= word.length + 1;
  }
  return shown;
}

/** The payload of an OPEN with HELD. */
export function makeHeldAsk(
  ask: HeldAsk,
  request: Uint8Array = new Uint8Array(0),
): Uint8Array<ArrayBuffer> {
  const head = new TextEncoder().encode(`${JSON.stringify(ask)}\n`);
  const payload = new Uint8Array(head.length + request.length);
  payload.set(head);
  payload.set(request, head.length);
  return payload;
}

/** Reads such a payload; undefined when it isn't one. */
export function readHeldAsk(
  payload: Uint8Array<ArrayBuffer>,
): { readonly ask: HeldAsk; readonly request: Uint8Array<ArrayBuffer> } | undefined {
  const end = payload.subarray(0, MOST_HEAD).indexOf(0x0a);
  if (end < 0) return undefined;
  let ask: unknown;
  try {
    ask = JSON.parse(new TextDecoder().decode(payload.subarray(0, end)));
  } catch {
    return undefined;
  }
  return isAsk(ask) ? { ask, request: payload.subarray(end + 1) } : undefined;
}

function isAsk(value: unknown): value is HeldAsk {
  if (!isFields(value)) return false;
  if (value.op === "list" || value.op === "pause") return true;
  if (!isHeldId(value.id)) return false;
  if (value.op === "attach") {
    return typeof value.output === "boolean" && typeof value.replay === "boolean";
  }
  return value.op === "start" && typeof value.stdin === "boolean" &&
    typeof value.tty === "boolean" &&
    typeof value.attach === "boolean" && Array.isArray(value.command) &&
    value.command.every((word) => typeof word === "string");
}

/** Reads the list. Throws SyntaxError or TypeError when it isn't one. */
export function readHeldList(text: string): HeldEntry[] {
  const list: unknown = JSON.parse(text);
  if (!Array.isArray(list) || !list.every(isEntry)) throw new TypeError("it isn't a list");
  return list;
}

function isEntry(value: unknown): value is HeldEntry {
  return isFields(value) && isHeldId(value.id) && Array.isArray(value.command) &&
    value.command.every((word) => typeof word === "string") &&
    typeof value.tty === "boolean" && typeof value.startedMs === "number" &&
    (value.endedMs === null || typeof value.endedMs === "number") &&
    (value.exit === null || typeof value.exit === "string");
}

function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
