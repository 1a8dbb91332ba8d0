/**
 * What a box may reach, and who may reach it: from what a caller asks for to the rules as the box's
 * network reads them (`ffi/net/policy.h`).
 *
 * @module
 */
import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import { HutchError } from "../errors.ts";

/** A rule of a box's network; of several, the first that fits counts. */
export interface NetworkRule {
  /** Whether what fits may go on. */
  readonly action: "allow" | "deny";
  /** `out`: what the box begins; `in`: what comes to its published ports. @default {"out"} */
  readonly direction?: "out" | "in";
  /**
   * The other side: `any`, an IP address, `ADDRESS/BITS`, a name, `*.NAME` (all names below it), or a
   * group: `public private loopback link-local metadata host`. A name stands for the addresses that the
   * box was told for it, and not inbound. @default {"any"}
   */
  readonly target?: string;
  /** What is spoken. @default {"any"} */
  readonly protocol?: "any" | "tcp" | "udp" | "icmp";
  /**
   * Ports of the other side, inbound of the box: `443`, `"8000-8010"`, or several. @default {all}
   */
  readonly ports?: number | string | readonly (number | string)[];
}

/** What a box is asked to reach, in {@link NetworkOptions}. */
export interface RuleOptions {
  /**
   * What alone the box may reach, in Deno's syntax: `api.example.org`, `*.example.com:443`, `10.0.0.0/8`,
   * `[::1]:80`, or a group such as `public` or `host:8080`. Names are for TCP.
   */
  readonly allowNet?: readonly string[];
  /** What it may not reach, in the same syntax; counts before all else. */
  readonly denyNet?: readonly string[];
  /** Rules between the two: the first that fits counts. */
  readonly networkRules?: readonly NetworkRule[];
}

/** Groups of addresses. */
export const GROUPS: readonly string[] = [
  "public",
  "private",
  "loopback",
  "link-local",
  "metadata",
  "host",
];
const MAX_RULES = 4_000;
const PROTOCOLS: readonly unknown[] = ["any", "tcp", "udp", "icmp"];

/**
 * The rules as texts, `allow|deny in|out PROTOCOL TARGET PORTS`: denials, rules, what is allowed, and
 * where something is allowed alone a denial of the rest.
 *
 * @throws HutchError `invalid_option`.
 */
export function ruleTexts({ allowNet, denyNet = [], networkRules = [] }: RuleOptions): string[] {
  const texts = [
    ...denyNet.flatMap((text) => shortTexts("deny", text)),
    ...networkRules.flatMap(textsOf),
    ...(allowNet ?? []).flatMap((text) => shortTexts("allow", text)),
    ...allowNet ? ["deny out any any any"] : [],
  ];
  if (texts.length <= MAX_RULES) return texts;
  throw refused(`${texts.length} rules`, `a box has ${MAX_RULES} at most`);
}

function textsOf(rule: NetworkRule): string[] {
  const { action, direction = "out", target = "any", protocol = "any", ports } = rule;
  const what = JSON.stringify(rule);
  if (action !== "allow" && action !== "deny") throw refused(what, "its action is neither");
  if (direction !== "in" && direction !== "out") throw refused(what, "its direction is neither");
  if (!PROTOCOLS.includes(protocol)) throw refused(what, `its protocol is "${protocol}"`);
  const to = targetOf(target, what);
  if (direction === "in" && to.isName) throw refused(what, "a name can't be told of who comes");
  if (ports !== undefined && protocol === "icmp") throw refused(what, "echoes have no ports");
  const head = `${action} ${direction} ${protocol} ${to.text}`;
  if (ports === undefined) return [`${head} any`];
  return [ports].flat().map((each) => `${head} ${portsOf(String(each), what)}`);
}

/** `TARGET[:PORTS]`; an IPv6 address with ports is in brackets. */
function shortTexts(action: "allow" | "deny", spec: string): string[] {
  const what = JSON.stringify(spec);
  const match = /^\[([^\]]*)\](?::(.*))?$/.exec(spec) ??
    (isIP(spec.replace(/\/\d+$/, "")) === 6 ? [spec, spec] : /^([^:]*)(?::(.*))?$/.exec(spec));
  if (!match) throw refused(what, "it is no TARGET or TARGET:PORTS");
  const { text, isName } = targetOf(match[1] ?? "", what);
  const ports = match[2] === undefined ? "any" : portsOf(match[2], what);
  // A name's first bytes are looked at, which QUIC hides; what is denied is so altogether.
  const protocols = isName && action === "allow"
    ? ["tcp"]
    : ports === "any"
    ? ["any"]
    : ["tcp", "udp"];
  return protocols.map((protocol) => `${action} out ${protocol} ${text} ${ports}`);
}

function targetOf(target: string, what: string): { text: string; isName: boolean } {
  if (target === "any" || GROUPS.includes(target)) return { text: target, isName: false };
  const [address = "", bits, more] = target.split("/");
  const kind = isIP(address);
  if (kind !== 0 && more === undefined && !address.includes("%")) {
    if (bits === undefined) return { text: address, isName: false };
    if (/^\d{1,3}$/.test(bits) && Number(bits) <= (kind === 4 ? 32 : 128)) {
      return { text: target, isName: false };
    }
    throw refused(what, `"${bits}" is no number of bits of such an address`);
  }
  return { text: nameOf(target, what), isName: true };
}

function nameOf(target: string, what: string): string {
  const star = target.startsWith("*.") ? "*." : "";
  const name = domainToASCII(target.slice(star.length)).replace(/\.$/, "");
  const labels = name.split(".");
  const good = name.length <= 250 && labels.every((label) => /^[a-z0-9_-]{1,63}$/.test(label)) &&
    !/^\d+$/.test(labels.at(-1) ?? "");
  if (good) return star + name;
  throw refused(what, `"${target}" is no IP address, ADDRESS/BITS, name, *.NAME or group`);
}

function portsOf(text: string, what: string): string {
  const [first = "", last = first, more] = text.split("-");
  const isPort = (word: string) => /^\d{1,5}$/.test(word) && Number(word) <= 65_535;
  if (isPort(first) && isPort(last) && more === undefined && Number(first) <= Number(last)) {
    return first === last ? first : `${first}-${last}`;
  }
  throw refused(what, `"${text}" is no port from 0 to 65535, or range of them`);
}

function refused(what: string, why: string): HutchError {
  return new HutchError("invalid_option", `Cannot allow or deny a box ${what}: ${why}`, {
    hint: `write names, addresses, ADDRESS/BITS or one of ${GROUPS.join(", ")}, and :PORT after it`,
  });
}
