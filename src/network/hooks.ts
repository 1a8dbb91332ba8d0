/**
 * What programs decide of a box's network by their plugins' hooks: what is asked, and what is answered.
 *
 * @module
 */
import { isIP } from "node:net";
import { GATEWAYS } from "./addresses.ts";

/** What there are hooks for. */
export type NetworkHookKind = "connect" | "dns" | "request";

/** The hooks that decide about a box, as recorded: nothing of these kinds goes on without their word. */
export interface NetworkHookConfig {
  /** Of which kinds they are; `request` stands for requests and responses. */
  readonly kinds: readonly NetworkHookKind[];
  /** Hosts whose TLS is looked into on any port, beside port 443 of all: names, and `*.NAME`. */
  readonly hosts: readonly string[];
}

/** Nobody decides anything. */
export const NO_HOOKS: NetworkHookConfig = { kinds: [], hosts: [] };

/** Something that the box is about to begin, and that its rules allow. */
export interface NetworkConnection {
  /** What is spoken. */
  readonly protocol: "tcp" | "udp" | "icmp";
  /** IP address of the other side. */
  readonly address: string;
  /** Its port; 0 for echoes. */
  readonly port: number;
  /** What kind of place it is: `public`, `private`, `host`, … */
  readonly group: string;
  /** Names that the box was told this address for; what it connects for may be another one. */
  readonly names: readonly string[];
  /** Where a plugin before this one sends it instead. */
  readonly to: NetworkTarget | null;
}

/** Where a connection goes in place of its own peer. */
export interface NetworkTarget {
  /** An IP address of the same kind (IPv4, IPv6) as its peer's; 127.0.0.1 and ::1 are this machine. */
  readonly address: string;
  /** From 1. */
  readonly port: number;
}

/** A question for a name that the box asks, and that its rules allow. */
export interface NameQuestion {
  /** In lower case, without a last dot; bytes that names don't have as `\DDD`. */
  readonly name: string;
  /** Number of the type of record: 1 for IPv4 addresses, 28 for IPv6. */
  readonly type: number;
  /** What a plugin before this one answers. */
  readonly answer: NameAnswer | null;
}

/** Addresses of a name. They are held against the box's rules as any server's answer. */
export interface NameAnswer {
  /** IP addresses, 16 at most; those that aren't of the question's type stay out. None: it has none. */
  readonly addresses: readonly string[];
  /** How long the box may keep them, in seconds. @default {60} */
  readonly ttlS?: number;
}

/** Where a request of the box is going. */
export interface RequestConnection {
  /** Name of the host. */
  readonly name: string;
  /** Its IP address, as the box knows it. */
  readonly address: string;
  /** Its port. */
  readonly port: number;
}

/** How a hook denies: by its word, by a failure, by taking too long, or because its program has gone. */
export type HookDenial = "refused" | "failed" | "late" | "gone";

/** What hooks say. */
export type HookRuling =
  | { readonly kind: "allow" }
  | { readonly kind: "to"; readonly to: NetworkTarget }
  | { readonly kind: "names"; readonly answer: NameAnswer }
  | { readonly kind: "deny"; readonly hook: Exclude<HookDenial, "gone">; readonly plugin: string };

const MAX_ADDRESSES = 16;
const MAX_TTL_S = 86_400;
const TTL_S = 60;

/** The hooks of both; where nobody else has any, those that are there. */
export function joinHooks(a: NetworkHookConfig, b: NetworkHookConfig): NetworkHookConfig {
  if (b.kinds.length === 0) return a;
  return {
    kinds: [...new Set([...a.kinds, ...b.kinds])],
    hosts: [...new Set([...a.hosts, ...b.hosts])],
  };
}

/** The name of a plugin as a word of an order; {@link wordText} reads it. */
export function textWord(text: string): string {
  return encodeURIComponent(text.toWellFormed()).slice(0, 300).replace(/%.?$/, "");
}

/** The text of a word. */
export function wordText(word: string): string {
  try {
    return decodeURIComponent(word);
  } catch {
    return word; // it was cut
  }
}

/** The words behind `answer ID`. */
export function rulingWords(ruling: HookRuling): string {
  switch (ruling.kind) {
    case "allow":
      return "allow";
    case "to":
      return `to ${ruling.to.address} ${ruling.to.port}`;
    case "names":
      return ["names", ruling.answer.ttlS ?? TTL_S, ...ruling.answer.addresses].join(" ");
    case "deny":
      return `deny ${ruling.hook} ${textWord(ruling.plugin)}`;
  }
}

/**
 * Checks where a hook sends a connection; this machine's loopback becomes what leads there.
 *
 * @throws Error that says what is wrong with it.
 */
export function checkTarget(
  { address, port }: NetworkTarget,
  from: Pick<NetworkConnection, "address" | "protocol">,
): NetworkTarget {
  const kind = isIP(address);
  if (from.protocol === "icmp") throw new Error("echoes can't be sent elsewhere");
  if (kind === 0 || address.includes("%") || kind !== isIP(from.address)) {
    throw new Error(`it sends a connection to ${from.address} to ${JSON.stringify(address)}`);
  }
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error(`${port} is no port`);
  const [v4, v6] = GATEWAYS;
  const own = address === "127.0.0.1" ? v4 : address === "::1" ? v6 : address;
  return { address: own, port };
}

/**
 * Checks what a hook answers for a name.
 *
 * @throws Error that says what is wrong with it.
 */
export function checkAnswer({ addresses, ttlS = TTL_S }: NameAnswer): NameAnswer {
  if (!Array.isArray(addresses) || addresses.length > MAX_ADDRESSES) {
    throw new Error(`it answers with something else than up to ${MAX_ADDRESSES} addresses`);
  }
  const wrong = addresses.find((each) => isIP(each) === 0 || each.includes("%"));
  if (wrong !== undefined) throw new Error(`${JSON.stringify(wrong)} is no IP address`);
  if (!Number.isInteger(ttlS) || ttlS < 0 || ttlS > MAX_TTL_S) {
    throw new Error(`${ttlS} is no number of seconds from 0 to ${MAX_TTL_S}`);
  }
  return { addresses, ttlS };
}
