/**
 * Orders to the program that is a running box's network (`hutch-net`): lines of words, each answered
 * by a line of JSON; `ffi/net/control.h` has them.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import type { HookDenial } from "./hooks.ts";
import { hostSide, type PublishedPort } from "./ports.ts";

/** How long it may take to answer, in `ms`. */
const TIMEOUT_MS = 5_000;
/** Longest line that is read of it, in bytes. */
const LINE_LIMIT = 1024 * 1024;

/** What a box's network has counted since its start. */
export interface NetworkCounters {
  /** What the box sent: frames with their Ethernet headers. */
  readonly sentBytes: number;
  /** Frames that went. */
  readonly sentFrames: number;
  /** Bytes that came. */
  readonly receivedBytes: number;
  /** Frames that came. */
  readonly receivedFrames: number;
  /** Frames for the box that it didn't take in time. */
  readonly lostFrames: number;
  /** Frames of the box that aren't what they say to be. */
  readonly badFrames: number;
  /** Frames with a sender that the box isn't. */
  readonly spoofedFrames: number;
  /** Connections, datagrams and echoes of the box that were refused. */
  readonly denied: number;
  /** Conversations so far, both ways. */
  readonly flows: number;
  /** Connections and exchanges that go on now. */
  readonly openFlows: number;
  /** Names that were asked for. */
  readonly dnsQuestions: number;
  /** Names that couldn't be looked up. */
  readonly dnsFailures: number;
}

/** Something that the box may not reach. */
export interface DeniedFlow {
  /** What is spoken; `dns` is a question for a name, or an answer to it. */
  readonly protocol: "tcp" | "udp" | "icmp" | "dns";
  /** IP address; that of the name server where a name may not be asked for. */
  readonly address: string;
  /** 0 for echoes. */
  readonly port: number;
  /** What kind of place it is: `private`, `host`, `metadata`, … */
  readonly group: string;
  /** The name that it is about, as far as that is known. */
  readonly domain: string | null;
  /** Index of the rule that says so; -1 for the mode's default. */
  readonly rule: number;
  /** How a plugin's hook denied it; null where none did. */
  readonly hook: HookDenial | null;
  /** The plugin whose hook it was. */
  readonly plugin: string | null;
  /** How many before weren't told, since there were too many at once. */
  readonly lost: number;
}

/** A secret that stayed where it is. */
export interface BlockedSecret {
  /** The secret's name. */
  readonly secret: string;
  /** Where it was going: IP address. */
  readonly address: string;
  /** The port there. */
  readonly port: number;
  /** The name that the connection said. */
  readonly domain: string;
}

/** A connection, an exchange of datagrams or echoes that began. */
export interface FlowStart {
  /** `out`: the box began it; `in`: it came to a published port. */
  readonly direction: "out" | "in";
  /** What is spoken. */
  readonly protocol: "tcp" | "udp" | "icmp";
  /** IP address of the other side; of what comes to published ports, the box's gateway. */
  readonly address: string;
  /** Its port; 0 for echoes. */
  readonly port: number;
  /** The box's port; of echoes, their identifier. */
  readonly boxPort: number;
  /** A name that the box was told the address for, where names matter to rules or hooks. */
  readonly domain: string | null;
  /** Index of the rule that let it; -1 for the mode's default. */
  readonly rule: number;
  /** How many events before weren't told, since there were too many at once. */
  readonly lost: number;
}

/** The end of what began. */
export interface ClosedFlow extends FlowStart {
  /** Bytes that the box's packets carried. */
  readonly sentBytes: number;
  /** Bytes that packets for the box carried. */
  readonly receivedBytes: number;
  /** From its first packet to its last, in `ms`. */
  readonly ms: number;
}

type Answer = Readonly<Record<string, unknown>>;

/** An order that was refused, with the system's name for the reason. */
export class OrderRefused extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * Gives one order to the network whose control socket is at `path`.
 *
 * @throws OrderRefused when it says no; HutchError `box_state` when it doesn't answer.
 */
export async function orderNetwork(path: string, order: string): Promise<Answer> {
  try {
    using connection = await Deno.connect({ transport: "unix", path });
    const late = setTimeout(() => connection.close(), TIMEOUT_MS);
    try {
      await connection.write(new TextEncoder().encode(`${order}\n`));
      for await (const line of linesOf(connection.readable)) return checkAnswer(line);
    } finally {
      clearTimeout(late);
    }
    throw new Error("it ended without an answer");
  } catch (error) {
    if (error instanceof OrderRefused) throw error;
    throw new HutchError("box_state", `Cannot reach the box's network: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** The order that publishes a port. */
export function publishOrder({ protocol, hostIp, hostPort, guestPort }: PublishedPort): string {
  return `publish ${protocol} ${hostIp} ${hostPort} ${guestPort}`;
}

/** Reads the answer to {@link publishOrder}: the port with its number. */
export function publishedPort(port: PublishedPort, answer: Answer): PublishedPort {
  if (typeof answer.port !== "number") throw new Error("its answer has no port");
  return { ...port, hostPort: answer.port };
}

/** Why a port can't be published, for people. */
export function publishRefusal(port: PublishedPort, code: string, message: string): string {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: "it is in use",
    EADDRNOTAVAIL: `this machine has no address ${port.hostIp}`,
    EACCES: "only root may have ports below 1024",
    EPERM: "only root may have ports below 1024",
  };
  return `Cannot publish ${hostSide(port)}: ${reasons[code] ?? message}`;
}

/** Throws {@link OrderRefused} for an answer that says no. */
export function checkAnswer(line: string): Answer {
  const answer: unknown = JSON.parse(line);
  if (typeof answer !== "object" || answer === null) throw new Error("its answer is no object");
  if ("ok" in answer && answer.ok === true) return { ...answer };
  const code = "code" in answer ? String(answer.code) : "EIO";
  throw new OrderRefused(code, "error" in answer ? String(answer.error) : "it says no");
}

/** What it has counted. */
export async function networkCounters(path: string): Promise<NetworkCounters> {
  const { counters } = await orderNetwork(path, "counters");
  const value = (name: keyof NetworkCounters): number => {
    const found: unknown = typeof counters === "object" && counters !== null
      ? Reflect.get(counters, name)
      : undefined;
    return typeof found === "number" ? found : 0;
  };
  return {
    sentBytes: value("sentBytes"),
    sentFrames: value("sentFrames"),
    receivedBytes: value("receivedBytes"),
    receivedFrames: value("receivedFrames"),
    lostFrames: value("lostFrames"),
    badFrames: value("badFrames"),
    spoofedFrames: value("spoofedFrames"),
    denied: value("denied"),
    flows: value("flows"),
    openFlows: value("openFlows"),
    dnsQuestions: value("dnsQuestions"),
    dnsFailures: value("dnsFailures"),
  };
}

/** Lines of text. */
export async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    rest += text;
    for (let end; (end = rest.indexOf("\n")) >= 0; rest = rest.slice(end + 1)) {
      yield rest.slice(0, end);
    }
    if (rest.length > LINE_LIMIT) throw new Error("a line of its answer is too long");
  }
}
