/**
 * Turning the agent's CBOR payloads into messages. The guest is hostile: every field is checked,
 * texts are bounded and stripped of what could steer a terminal, and whatever isn't as
 * `messages.ts` says throws `agent_protocol`.
 *
 * @module
 */
import { decodeCbor } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type {
  ConfigureReply,
  ExecReply,
  Exit,
  Failure,
  FailureKind,
  Goodbye,
  Hello,
} from "./messages.ts";

/** An empty reply, as of ping and shutdown. */
export type EmptyReply = Readonly<Record<never, never>>;

type Fields = ReadonlyMap<unknown, unknown>;

/** Longest text taken from the guest, in UTF-16 units; the rest is cut. */
const MOST_TEXT = 1000;
const MOST_TIME_MS = 1e12;

const failureKinds: readonly FailureKind[] = [
  "bad_cwd",
  "bad_request",
  "busy",
  "failed",
  "limit_refused",
  "no_such_execution",
  "no_such_user",
  "not_executable",
  "not_found",
  "window_exceeded",
];

/** The fields of a HELLO frame. */
export function readHello(payload: Uint8Array): Hello {
  const fields = decode("HELLO", payload);
  return {
    protocol: integer("HELLO", fields, "protocol", 0, 0xffffffff),
    agent: text("HELLO", fields, "agent"),
    kernel: text("HELLO", fields, "kernel"),
    bootMs: time("HELLO", fields, "bootMs"),
  };
}

/** The fields of exec's reply. */
export function readExecReply(payload: Uint8Array): ExecReply {
  return { pid: integer("REPLY", decode("REPLY", payload), "pid", 1, 0x7fffffff) };
}

/** The fields of configure's reply. */
export function readConfigureReply(payload: Uint8Array): ConfigureReply {
  return { ms: time("REPLY", decode("REPLY", payload), "ms") };
}

/** A reply that says nothing but that it is done. */
export function readEmptyReply(payload: Uint8Array): EmptyReply {
  decode("REPLY", payload);
  return {};
}

/** How a command ended. */
export function readExit(payload: Uint8Array): Exit {
  const fields = decode("EXIT", payload);
  const signal = fields.get("signal") ?? null;
  const timedOut = fields.get("timedOut");
  if (typeof timedOut !== "boolean") throw invalid("EXIT", "timedOut", "isn't true or false");
  if (signal === null) {
    return { code: integer("EXIT", fields, "code", 0, 255), signal: null, timedOut };
  }
  if (typeof signal !== "string" || !/^SIG[A-Z0-9+-]{1,16}$/.test(signal)) {
    throw invalid("EXIT", "signal", "isn't a signal's name");
  }
  if ((fields.get("code") ?? null) !== null) throw invalid("EXIT", "code", "is there with signal");
  return { code: null, signal, timedOut };
}

/** Why the agent refused. */
export function readFailure(payload: Uint8Array): Failure {
  const fields = decode("ERROR", payload);
  const named = text("ERROR", fields, "kind");
  const kind = failureKinds.find((each) => each === named);
  if (kind === undefined) throw invalid("ERROR", "kind", `is unknown: ${named}`);
  return {
    kind,
    errno: integer("ERROR", fields, "errno", 0, 4095),
    message: text("ERROR", fields, "message"),
  };
}

/** Why the guest ends. */
export function readGoodbye(payload: Uint8Array): Goodbye {
  const fields = decode("GOODBYE", payload);
  const reason = text("GOODBYE", fields, "reason");
  if (reason !== "shutdown" && reason !== "lost") {
    throw invalid("GOODBYE", "reason", `is unknown: ${reason}`);
  }
  // A message is for people; a goodbye without one is still a goodbye.
  const message = fields.get("message") === undefined ? "" : text("GOODBYE", fields, "message");
  return { reason, message };
}

/**
 * A guest's text made fit for messages: without control characters (which steer terminals) or
 * directions (which reorder what is read), and cut to 1,000 characters.
 */
export function plainText(untrusted: string): string {
  const cut = untrusted.slice(0, MOST_TEXT);
  return cut.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").toWellFormed();
}

function decode(what: string, payload: Uint8Array): Fields {
  let value: unknown;
  try {
    // Tags of the package's global list could make any object; maps keep names like __proto__ tame.
    value = decodeCbor(payload, { preferMap: true, ignoreGlobalTags: true, rejectBigInts: true });
  } catch (cause) {
    throw new HutchError("agent_protocol", `Cannot read the agent's ${what}: it isn't CBOR`, {
      cause,
    });
  }
  if (!(value instanceof Map)) throw invalid(what, "payload", "isn't a map");
  return value;
}

function integer(what: string, fields: Fields, name: string, least: number, most: number): number {
  const value = fields.get(name);
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
    throw invalid(what, name, `isn't a whole number from ${least} to ${most}`);
  }
  return value;
}

function time(what: string, fields: Fields, name: string): number {
  const value = fields.get(name);
  if (typeof value !== "number" || !(value >= 0 && value <= MOST_TIME_MS)) {
    throw invalid(what, name, "isn't a time in ms");
  }
  return value;
}

function text(what: string, fields: Fields, name: string): string {
  const value = fields.get(name);
  if (typeof value !== "string") throw invalid(what, name, "isn't text");
  return plainText(value);
}

function invalid(what: string, name: string, why: string): HutchError {
  return new HutchError("agent_protocol", `Cannot read the agent's ${what}: ${name} ${why}`);
}
