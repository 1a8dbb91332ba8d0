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
  readonly count: number;
  readonly userMs: number;
  readonly systemMs: number;
  readonly idleMs: number;
  /** Time that the host didn't give. */
  readonly stolenMs: number;
}

/** Memory as the guest's kernel has it, in bytes. */
export interface GuestMemory {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** What a new program could have: free, or given back when it is needed. */
  readonly availableBytes: number;
  /** Files that are kept in memory. */
  readonly cachedBytes: number;
  readonly swapTotalBytes: number;
  readonly swapFreeBytes: number;
}

/** The file system of the box's root. */
export interface GuestDisk {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** What of that others than root may have. */
  readonly availableBytes: number;
  /** Files that it may have, and how many more. */
  readonly files: number;
  readonly freeFiles: number;
}

/** One network interface, since the boot. */
export interface GuestInterface {
  readonly receivedBytes: number;
  readonly receivedPackets: number;
  readonly sentBytes: number;
  readonly sentPackets: number;
}

/** What the guest says of itself. A part that it couldn't read is null. */
export interface GuestMetrics {
  readonly cpu: GuestCpu | null;
  /** Processes that wanted to run, in the mean of the last 1, 5 and 15 minutes. */
  readonly load: readonly [number, number, number] | null;
  readonly memory: GuestMemory | null;
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
