/**
 * Options that every kind of volume takes, for the plugins that read them.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { VolumeSpec } from "../box/options.ts";

/** How a volume is mounted in the box; `nosuid` and `nodev` are as every volume is. */
export interface VolumeOptions {
  /** The box can't write to it. @default {false} */
  readonly readOnly?: boolean;
  /** Programs in it can't be run. @default {false} */
  readonly noexec?: boolean;
}

const FLAGS: Readonly<Record<string, VolumeOptions>> = {
  ro: { readOnly: true },
  readonly: { readOnly: true },
  rw: { readOnly: false },
  noexec: { noexec: true },
  exec: { noexec: false },
  nosuid: {},
  nodev: {},
};
const KNOWN = "ro, rw, noexec, exec, nosuid, nodev";

/** What {@link readVolumeOptions} found. */
export interface ReadVolumeOptions {
  /** How it is mounted. */
  readonly options: VolumeOptions;
  /** `name=value` parts that every kind has a meaning of its own for. */
  readonly values: Readonly<Record<string, string>>;
}

/**
 * Reads options as text: `ro,noexec`, with `name=value` parts of those names that the kind knows.
 *
 * @throws HutchError `invalid_option` for words that aren't options, are there twice, or take
 * another back.
 */
export function readVolumeOptions(
  spec: VolumeSpec,
  text: string,
  names: readonly string[] = [],
): ReadVolumeOptions {
  let options: VolumeOptions = {};
  const values: Record<string, string> = {};
  const seen = new Set<string>();
  for (const part of text.split(",")) {
    const at = part.indexOf("=");
    const name = at < 0 ? part : part.slice(0, at);
    const flag = at < 0 && Object.hasOwn(FLAGS, part) ? FLAGS[part] : undefined;
    if (!flag && !(at > 0 && names.includes(name))) {
      const known = [KNOWN, ...names.map((each) => `${each}=…`)].join(", ");
      throw volumeRefused(spec, `"${part}" is not one of its options: ${known}`);
    }
    for (const key of flag ? Object.keys(flag) : [name]) {
      if (seen.has(key)) throw volumeRefused(spec, `"${part}" says again what another option says`);
      seen.add(key);
    }
    if (flag) options = { ...options, ...flag };
    else values[name] = part.slice(at + 1);
  }
  return { options, values };
}

/**
 * Takes the options of an object apart from what the kind knows itself.
 *
 * @param names Keys that the kind knows.
 * @throws HutchError `invalid_option` for other keys: one misspelled could be the one that protects
 * the host's files.
 */
export function volumeOptionsOf(
  spec: Exclude<VolumeSpec, string>,
  names: readonly string[],
): VolumeOptions {
  for (const [key, value] of Object.entries(spec)) {
    if (key === "guest" || names.includes(key)) continue;
    if (!["readOnly", "noexec", "nosuid", "nodev"].includes(key)) {
      throw volumeRefused(spec, `"${key}" is not an option of such volumes`);
    }
    if (typeof value !== "boolean") {
      throw volumeRefused(spec, `${key} is neither true nor false`);
    }
    if (!value && (key === "nosuid" || key === "nodev")) {
      throw volumeRefused(spec, `every volume is ${key}: it can't be false`);
    }
  }
  const { guest, readOnly, noexec } = spec;
  if (typeof guest !== "string") throw volumeRefused(spec, "its guest is no text");
  return {
    ...typeof readOnly === "boolean" ? { readOnly } : {},
    ...typeof noexec === "boolean" ? { noexec } : {},
  };
}

/**
 * The error of a volume that can't be, for plugins to throw.
 *
 * @param hint What to do about it.
 */
export function volumeRefused(spec: VolumeSpec, why: string, hint?: string): HutchError {
  const text = typeof spec === "string" ? spec : spec.guest;
  return new HutchError(
    "invalid_option",
    `Cannot use volume ${JSON.stringify(text)}: ${why}`,
    hint === undefined ? {} : { hint },
  );
}
