/**
 * What a box's guest says that it uses. It may say anything: what isn't as it must be is refused.
 *
 * @module
 */
import { decodeCbor } from "../deps.ts";
import { HutchError } from "../errors.ts";
import { GuestClient } from "../guest/client.ts";
import { plainText } from "../guest/validate.ts";

/** Processor time of the guest since its boot, of all its processors, in `ms`. */
export interface GuestCpu {
  /** How many processors. */
  readonly count: number;
  /** Time in programs since its start, in `ms`. */
  readonly userMs: number;
  /** Time in the kernel since its start, in `ms`. */
  readonly systemMs: number;
  /** Time without work since its start, in `ms`. */
  readonly idleMs: number;
  /** Time that the host didn't give. */
  readonly stolenMs: number;
}

/** Memory as the guest's kernel has it, in bytes. */
export interface GuestMemory {
  /** All of it, in bytes. */
  readonly totalBytes: number;
  /** What nobody uses, in bytes. */
  readonly freeBytes: number;
  /** What a new program could have: free, or given back when it is needed. */
  readonly availableBytes: number;
  /** Files that are kept in memory. */
  readonly cachedBytes: number;
  /** Swap space, in bytes. */
  readonly swapTotalBytes: number;
  /** Swap space that nobody uses, in bytes. */
  readonly swapFreeBytes: number;
}

/** The file system of the box's root. */
export interface GuestDisk {
  /** Its size, in bytes. */
  readonly totalBytes: number;
  /** What is free, in bytes. */
  readonly freeBytes: number;
  /** What of that others than root may have. */
  readonly availableBytes: number;
  /** Files that it may have, and how many more. */
  readonly files: number;
  /** How many more files fit. */
  readonly freeFiles: number;
}

/** One network interface, since the boot. */
export interface GuestInterface {
  /** Bytes that came in. */
  readonly receivedBytes: number;
  /** Packets that came in. */
  readonly receivedPackets: number;
  /** Bytes that went out. */
  readonly sentBytes: number;
  /** Packets that went out. */
  readonly sentPackets: number;
}

/** What the guest says of itself. A part that it couldn't read is null. */
export interface GuestMetrics {
  /** Its processors; null when it doesn't say. */
  readonly cpu: GuestCpu | null;
  /** Processes that wanted to run, in the mean of the last 1, 5 and 15 minutes. */
  readonly load: readonly [number, number, number] | null;
  /** Its memory; null when it doesn't say. */
  readonly memory: GuestMemory | null;
  /** Its root file system; null when it doesn't say. */
  readonly disk: GuestDisk | null;
  /** By name, such as `lo`; 8 at most. */
  readonly network: Readonly<Record<string, GuestInterface>> | null;
  /** Processes and their threads, without the kernel's and the agent's own. */
  readonly processes: { readonly count: number; readonly threads: number } | null;
}

const TIMEOUT_MS = 5_000;
const MOST_BYTES = 4_096;
const MOST_INTERFACES = 8;

type Fields = ReadonlyMap<unknown, unknown>;

/** Asks the guest behind a box's socket; it is no activity of the box. */
export async function guestMetrics(socketPath: string): Promise<GuestMetrics> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  await using client = await GuestClient.connect(socketPath, { signal, timeoutMs: TIMEOUT_MS });
  await using stream = client.open({
    op: "exec",
    builtin: "metrics",
    argv: ["metrics"],
    env: [],
    cwd: "/",
    user: "",
    stdin: false,
  }, { signal, background: true });
  const bytes = new Uint8Array(MOST_BYTES);
  let length = 0;
  for await (const chunk of stream.stdout) {
    if (length + chunk.length > MOST_BYTES) throw broken("its answer is too long");
    bytes.set(chunk, length);
    length += chunk.length;
  }
  const { code } = await stream.exit;
  if (code !== 0) throw new HutchError("guest_failed", "Cannot read the guest's metrics");
  return readMetrics(bytes.subarray(0, length));
}

/** What the agent's program `metrics` says. */
export function readMetrics(bytes: Uint8Array): GuestMetrics {
  let said: unknown;
  try {
    said = decodeCbor(bytes, { preferMap: true, ignoreGlobalTags: true });
  } catch (cause) {
    throw broken("they aren't CBOR", cause);
  }
  const fields = asMap(said);
  const part = <Name extends string>(name: string, ...names: readonly Name[]) => {
    const value = fields.get(name);
    return value === undefined ? null : numbers(asMap(value), names);
  };
  const load = part("loadMilli", "minute", "five", "fifteen");
  return {
    cpu: part("cpu", "count", "userMs", "systemMs", "idleMs", "stolenMs"),
    load: load ? [load.minute / 1000, load.five / 1000, load.fifteen / 1000] : null,
    memory: part(
      "memory",
      ...["totalBytes", "freeBytes", "availableBytes", "cachedBytes"] as const,
      ...["swapTotalBytes", "swapFreeBytes"] as const,
    ),
    disk: part("disk", "totalBytes", "freeBytes", "availableBytes", "files", "freeFiles"),
    network: networkOf(fields.get("network")),
    processes: part("processes", "count", "threads"),
  };
}

function networkOf(said: unknown): Record<string, GuestInterface> | null {
  if (said === undefined) return null;
  const entries = [...asMap(said)];
  if (entries.length > MOST_INTERFACES) throw broken("there are too many interfaces");
  return Object.fromEntries(entries.map(([name, value]) => {
    if (typeof name !== "string") throw broken("an interface has no name");
    const names = ["receivedBytes", "receivedPackets", "sentBytes", "sentPackets"] as const;
    return [plainText(name), numbers(asMap(value), names)];
  }));
}

function numbers<Name extends string>(
  fields: Fields,
  names: readonly Name[],
): { readonly [Key in Name]: number } {
  const read = names.map((name): [Name, number] => {
    const raw = fields.get(name);
    const value = typeof raw === "bigint" ? Number(raw) : raw;
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0) {
      throw broken(`${name} isn't a whole number`);
    }
    return [name, value];
  });
  return Object.fromEntries(read) as { readonly [Key in Name]: number }; // of just these names
}

function asMap(value: unknown): Fields {
  if (value instanceof Map) return value;
  throw broken("a part isn't a map");
}

function broken(why: string, cause?: unknown): HutchError {
  const options = cause === undefined ? {} : { cause };
  return new HutchError("agent_protocol", `Cannot trust the guest's metrics: ${why}`, options);
}
