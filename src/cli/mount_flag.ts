/**
 * The option `--mount`, as Docker has it.
 *
 * @module
 */
import type { VolumeSpec } from "../box/options.ts";
import { HutchError } from "../errors.ts";

const NAMES: Readonly<Record<string, "type" | "host" | "guest" | "readOnly">> = {
  type: "type",
  source: "host",
  src: "host",
  target: "guest",
  destination: "guest",
  dst: "guest",
  readonly: "readOnly",
  ro: "readOnly",
};

/**
 * Reads `type=bind,source=HOST,target=GUEST[,readonly]`.
 *
 * @throws HutchError `invalid_option`.
 */
export function parseMount(text: string): VolumeSpec {
  const parts = new Map<string, string>();
  for (const part of text.split(",")) {
    const at = part.indexOf("=");
    const name = at < 0 ? part : part.slice(0, at);
    const key = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined;
    if (key === undefined) throw refused(text, `"${name}" is not a part of it`);
    if (parts.has(key)) throw refused(text, `"${name}" is there twice`);
    if (at < 0 && key !== "readOnly") throw refused(text, `"${name}" has no value`);
    parts.set(key, at < 0 ? "true" : part.slice(at + 1));
  }
  const type = parts.get("type");
  if (type !== "bind") throw refused(text, `its type is ${type ?? "missing"}, not bind`);
  const [host, guest] = [parts.get("host"), parts.get("guest")];
  if (!host) throw refused(text, "it has no source");
  if (!guest) throw refused(text, "it has no target");
  const readOnly = parts.get("readOnly") ?? "false";
  if (!["true", "1", "false", "0"].includes(readOnly)) {
    throw refused(text, `readonly is "${readOnly}", neither true nor false`);
  }
  return { host, guest, readOnly: readOnly === "true" || readOnly === "1" };
}

function refused(text: string, why: string): HutchError {
  return new HutchError("invalid_option", `Cannot use --mount ${JSON.stringify(text)}: ${why}`, {
    hint: "write type=bind,source=HOST,target=GUEST[,readonly]",
  });
}
