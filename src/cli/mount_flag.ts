/**
 * The options `--mount` and `--tmpfs`, as Docker has them.
 *
 * @module
 */
import type { VolumeSpec } from "../box/options.ts";
import { HutchError } from "../errors.ts";

const FLAGS = ["readOnly", "noexec", "nosuid", "nodev"];
/** What parts are called, and what their values are in the object. */
const NAMES: Readonly<Record<string, string>> = {
  type: "type",
  source: "source",
  src: "source",
  target: "guest",
  destination: "guest",
  dst: "guest",
  readonly: "readOnly",
  ro: "readOnly",
  noexec: "noexec",
  nosuid: "nosuid",
  nodev: "nodev",
  "tmpfs-size": "size",
  "tmpfs-mode": "mode",
  format: "format",
  owner: "owner",
};
/** By type: what its source is in the object, and which parts it has beside. */
const TYPES: Readonly<Record<string, { readonly source?: string; readonly parts: string[] }>> = {
  bind: { source: "host", parts: ["owner"] },
  volume: { source: "volume", parts: ["owner"] },
  disk: { source: "disk", parts: ["format"] },
  tmpfs: { parts: ["size", "mode"] },
};

/**
 * Reads `type=bind,source=HOST,target=GUEST[,readonly]`, and the same of other types.
 *
 * @throws HutchError `invalid_option`.
 */
export function parseMount(text: string): VolumeSpec {
  const parts = partsOf(text);
  const type = parts.get("type") ?? "volume";
  const kind = Object.hasOwn(TYPES, type) ? TYPES[type] : undefined;
  if (!kind) {
    throw refused(text, `its type is ${type}, not one of ${Object.keys(TYPES).join(", ")}`);
  }
  const [source, guest] = [parts.get("source"), parts.get("guest")];
  if (kind.source !== undefined && !source) throw refused(text, "it has no source");
  if (kind.source === undefined && source) throw refused(text, `a ${type} has no source`);
  if (!guest) throw refused(text, "it has no target");
  const made: Record<string, unknown> = kind.source ? { [kind.source]: source } : { tmpfs: true };
  for (const [key, value] of parts) {
    if (FLAGS.includes(key)) made[key] = flag(text, key, value);
    else if (kind.parts.includes(key)) made[key] = valueOf(text, key, value);
    else if (!["type", "source", "guest"].includes(key)) {
      throw refused(text, `"${key}" is not a part of a ${type}`);
    }
  }
  return { ...made, guest };
}

/**
 * Reads `GUEST[:OPTIONS]`.
 *
 * @throws HutchError `invalid_option`.
 */
export function parseTmpfs(text: string): VolumeSpec {
  if (text.startsWith("/")) return `tmpfs:${text}`;
  throw new HutchError(
    "invalid_option",
    `Cannot use --tmpfs ${JSON.stringify(text)}: its path in the box has no "/" first`,
    { hint: "write GUEST or GUEST:size=64m,mode=1777,exec" },
  );
}

function partsOf(text: string): Map<string, string> {
  const parts = new Map<string, string>();
  for (const part of text.split(",")) {
    const at = part.indexOf("=");
    const name = at < 0 ? part : part.slice(0, at);
    const key = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined;
    if (key === undefined) throw refused(text, `"${name}" is not a part of it`);
    if (parts.has(key)) throw refused(text, `"${name}" is there twice`);
    if (at < 0 && !FLAGS.includes(key)) throw refused(text, `"${name}" has no value`);
    parts.set(key, at < 0 ? "true" : part.slice(at + 1));
  }
  return parts;
}

function flag(text: string, key: string, value: string): boolean {
  if (value === "true" || value === "1") return true;
  if (value === "false" || value === "0") return false;
  throw refused(text, `${key.toLowerCase()} is "${value}", neither true nor false`);
}

function valueOf(text: string, key: string, value: string): unknown {
  if (key === "mode") {
    if (/^[0-7]{1,5}$/.test(value)) return parseInt(value, 8);
    throw refused(text, `tmpfs-mode is "${value}", not octal digits`);
  }
  if (key !== "owner" || value === "keep") return value;
  const [, uid, gid] = /^(\d+):(\d+)$/.exec(value) ?? [];
  if (uid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  throw refused(text, `owner is "${value}", neither keep nor UID:GID`);
}

function refused(text: string, why: string): HutchError {
  return new HutchError("invalid_option", `Cannot use --mount ${JSON.stringify(text)}: ${why}`, {
    hint:
      "write type=bind,source=HOST,target=GUEST[,readonly], or one of type volume, disk or tmpfs",
  });
}
