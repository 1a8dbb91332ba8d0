/**
 * Resource limits and capabilities of a command: their names, their checks, and what the agent is
 * told of them.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { ExecRequest } from "../guest/messages.ts";

/** The limits of `setrlimit(2)`. */
export const RLIMIT_NAMES = [
  ...["as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile"],
  ...["nproc", "rss", "rtprio", "rttime", "sigpending", "stack"],
] as const;

/** The capabilities of `capabilities(7)`, each at its number, without `CAP_`. */
export const CAPABILITY_NAMES = [
  ...["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"],
  ...["SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"],
  ...["IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT"],
  ...["SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD"],
  ...["LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG"],
  ...["WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"],
] as const;

/**
 * A limit's name, as `setrlimit(2)` has it in small letters. `cpu` is in seconds, `rttime` in
 * microseconds; `as`, `core`, `data`, `fsize`, `memlock`, `msgqueue`, `rss` and `stack` are in
 * bytes; the others count.
 */
export type RlimitName = (typeof RLIMIT_NAMES)[number];

/** A limit: a whole number, or none. */
export type RlimitValue = number | "unlimited";

/** Limits by name; a single value is both the soft and the hard one. */
export type Rlimits = {
  readonly [N in RlimitName]?:
    | RlimitValue
    | { readonly soft: RlimitValue; readonly hard: RlimitValue };
};

/** A capability's name, as `capabilities(7)` has it, with or without `CAP_`. */
export type Capability =
  | (typeof CAPABILITY_NAMES)[number]
  | `CAP_${(typeof CAPABILITY_NAMES)[number]}`;

/** How a command's capabilities differ from what its user has anyway: root all, others none. */
export interface CapabilityChanges {
  /**
   * Had even by a command that isn't root's: permitted, inheritable and ambient. `ALL`: every one.
   * None of them may be in `drop`.
   */
  readonly add?: readonly (Capability | "ALL")[];
  /**
   * Taken from the bounding set too: neither the command nor what it starts can ever have them.
   * `ALL`: all but those in `add`.
   */
  readonly drop?: readonly (Capability | "ALL")[];
}

/** The limits as the agent takes them. Throws `invalid_option`. */
export function rlimitsOf(rlimits: Rlimits): NonNullable<ExecRequest["rlimits"]> {
  const pairs = Object.entries(rlimits).filter(([, limit]) => limit !== undefined);
  return Object.fromEntries(pairs.map(([name, limit]) => {
    if (!isOneOf(name, RLIMIT_NAMES)) {
      refuse(`limit ${JSON.stringify(name)}: Linux has none of this name`, {
        hint: `take one of ${RLIMIT_NAMES.join(", ")}`,
      });
    }
    const { soft, hard } = typeof limit === "object" && limit !== null
      ? limit
      : { soft: limit, hard: limit };
    for (const value of [soft, hard]) checkValue(name, value);
    if (amount(soft) > amount(hard)) {
      refuse(`limit ${name} of ${soft}: it is over its hard limit ${hard}`);
    }
    return [name, [wireValue(soft), wireValue(hard)] as const];
  }));
}

/** The capabilities as the agent takes them. Throws `invalid_option`. */
export function capabilitiesOf(
  { add = [], drop = [] }: CapabilityChanges,
): Pick<ExecRequest, "capKeep" | "capGive"> {
  const added = numbersOf(add);
  const dropped = numbersOf(drop);
  // `ALL` on one side means what the other side doesn't name.
  const addsAll = added === "all";
  const dropsAll = dropped === "all";
  if (addsAll && dropsAll) refuse("capabilities: ALL is both in add and in drop");
  if (!addsAll && !dropsAll) {
    for (const number of added) {
      if (dropped.has(number)) {
        refuse(`capability ${CAPABILITY_NAMES[number]}: it is both in add and in drop`);
      }
    }
  }
  const all = new Set(CAPABILITY_NAMES.keys());
  const kept = dropsAll ? new Set<number>() : all.difference(dropped);
  const given = addsAll ? kept : added;
  return { capKeep: maskOf(kept.union(given)), capGive: maskOf(given) };
}

function numbersOf(names: readonly string[]): Set<number> | "all" {
  const numbers = names.map((name) => {
    const known: readonly string[] = CAPABILITY_NAMES;
    const plain = String(name).toUpperCase().replace(/^CAP_/, "");
    const number = plain === "ALL" ? Infinity : known.indexOf(plain);
    if (number < 0) {
      refuse(`capability ${JSON.stringify(name)}: Linux has none of this name`, {
        hint: "take a name such as NET_ADMIN, or ALL",
      });
    }
    return number;
  });
  return numbers.includes(Infinity) ? "all" : new Set(numbers);
}

/** Not by shifting, which stops at 32 bits. */
function maskOf(numbers: ReadonlySet<number>): number {
  return [...numbers].reduce((sum, number) => sum + 2 ** number, 0);
}

function checkValue(name: string, value: unknown): void {
  if (value === "unlimited") return;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return;
  refuse(`limit ${name} of ${value}: it isn't a whole number from 0, nor "unlimited"`);
}

function amount(value: RlimitValue): number {
  return value === "unlimited" ? Infinity : value;
}

function wireValue(value: RlimitValue): number | null {
  return value === "unlimited" ? null : value;
}

function isOneOf<T extends string>(text: string, texts: readonly T[]): text is T {
  return texts.some((one) => one === text);
}

function refuse(what: string, options: { hint?: string } = {}): never {
  throw new HutchError("invalid_option", `Cannot use ${what}`, options);
}
