/**
 * Ports of this machine that lead to a box, as Docker's users write them.
 *
 * @module
 */
import { isIP } from "node:net";
import { HutchError } from "../errors.ts";

/** A port of this machine that leads to one of a box. */
export interface PublishedPort {
  /** Address of this machine; `0.0.0.0` and `::` are all of their kind. */
  readonly hostIp: string;
  /** 0 in what is asked for: the system picks one at each start. */
  readonly hostPort: number;
  /** Port in the box. */
  readonly guestPort: number;
  /** What is spoken. */
  readonly protocol: "tcp" | "udp";
}

/** What ports are read for. */
export type PortPurpose = "publish" | "unpublish";

/** Most ports of a box. */
const MAX_PORTS = 1000;
const DEFAULT_IP = "127.0.0.1";

/**
 * Reads `[HOSTIP:][HOSTPORT:]GUESTPORT[/tcp|udp]`. Ports may be ranges of the same length
 * (`8000-8010:80-90`); an IPv6 address is in brackets; a host port that is 0, empty or left out is
 * picked by the system.
 *
 * @param purpose What the ports are read for, which is what a refusal says that can't be done.
 * @throws HutchError `invalid_option`.
 */
export function parsePort(spec: string, purpose: PortPurpose = "publish"): PublishedPort[] {
  try {
    return readPort(spec);
  } catch (error) {
    throw error instanceof Unreadable ? refused(spec, purpose, error) : error;
  }
}

function readPort(spec: string): PublishedPort[] {
  const slash = spec.indexOf("/");
  const protocol = slash < 0 ? "tcp" : spec.slice(slash + 1);
  if (protocol !== "tcp" && protocol !== "udp") {
    throw new Unreadable(`its protocol is "${protocol}", neither tcp nor udp`);
  }
  const { ip, host, guest } = split(slash < 0 ? spec : spec.slice(0, slash));
  if (isIP(ip) === 0) throw new Unreadable(`"${ip}" is no IP address of this machine`);
  const guests = range(guest, 1);
  const hosts = host === "" ? undefined : range(host, 0);
  if (hosts && hosts.length !== guests.length) {
    throw new Unreadable(`it has ${hosts.length} ports here and ${guests.length} in the box`);
  }
  return guests.map((guestPort, index) => ({
    hostIp: ip,
    hostPort: hosts?.[index] ?? 0,
    guestPort,
    protocol,
  }));
}

/**
 * Reads all of a box's ports.
 *
 * @throws HutchError `invalid_option`, also for a port that is there twice.
 */
export function parsePorts(specs: readonly string[]): PublishedPort[] {
  const ports = specs.flatMap((spec) => parsePort(spec));
  if (ports.length > MAX_PORTS) {
    throw new HutchError(
      "invalid_option",
      `Cannot publish ${ports.length} ports: a box has ${MAX_PORTS} at most`,
    );
  }
  const seen = new Set<string>();
  for (const port of ports.filter(({ hostPort }) => hostPort !== 0)) {
    const text = hostSide(port);
    if (seen.has(text)) {
      throw new HutchError("invalid_option", `Cannot publish ${text}: it is there twice`);
    }
    seen.add(text);
  }
  return ports;
}

/** `127.0.0.1:8080/tcp`, `[::1]:53/udp`. */
export function hostSide({ hostIp, hostPort, protocol }: PublishedPort): string {
  return `${hostIp.includes(":") ? `[${hostIp}]` : hostIp}:${hostPort}/${protocol}`;
}

/** As `docker ps` shows it: `127.0.0.1:8080->80/tcp`. */
export function formatPort(port: PublishedPort): string {
  return hostSide(port).replace("/", `->${port.guestPort}/`);
}

function split(text: string): { ip: string; host: string; guest: string } {
  const bracket = /^\[([^\]]*)\]:(.*)$/.exec(text);
  const [ip, rest] = bracket ? [bracket[1], bracket[2]] : [undefined, text];
  const words = (rest ?? "").split(":");
  if (words.length > (ip === undefined ? 3 : 2)) {
    throw new Unreadable(
      "it has too many parts",
      "an IPv6 address is written in brackets: [::1]:80:80",
    );
  }
  const [guest = "", host = "", first] = words.toReversed();
  return { ip: ip ?? (first === undefined || first === "" ? DEFAULT_IP : first), host, guest };
}

function range(text: string, least: number): number[] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (!match || first < least || last > 65_535) {
    throw new Unreadable(`"${text}" is no port from ${least} to 65535, nor a range of some`);
  }
  if (last < first || last - first >= MAX_PORTS) {
    throw new Unreadable(`"${text}" is a range of no ports, or of more than ${MAX_PORTS}`);
  }
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

/** The text of a port is none, and why. */
class Unreadable extends Error {
  readonly hint: string | undefined;

  constructor(why: string, hint?: string) {
    super(why);
    this.hint = hint;
  }
}

const FORMS: Readonly<Record<PortPurpose, string>> = {
  publish: "write [HOSTIP:][HOSTPORT:]GUESTPORT[/tcp|udp]",
  unpublish: "write [HOSTIP:][HOSTPORT:]GUESTPORT[/tcp|udp]; a lone number is the box's port",
};

function refused(spec: string, purpose: PortPurpose, { message, hint }: Unreadable): HutchError {
  return new HutchError(
    "invalid_option",
    `Cannot ${purpose} ${JSON.stringify(spec)}: ${message}`,
    { hint: hint ?? FORMS[purpose] },
  );
}
