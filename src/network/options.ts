/**
 * What network a box is asked to have, and what that is recorded as.
 *
 * @module
 */
import { isIP } from "node:net";
import { HutchError } from "../errors.ts";
import { GATEWAYS } from "./addresses.ts";
import { type NetworkHookConfig, NO_HOOKS } from "./hooks.ts";
import { parsePorts, type PublishedPort } from "./ports.ts";
import { type RuleOptions, ruleTexts } from "./rules.ts";
import { type SecretConfig, secretConfigs, type SecretOptions } from "./secrets.ts";

/**
 * `none`: loopback alone. `nat`: out to public addresses; this machine, private networks, link-local
 * addresses and clouds' metadata are refused. `open`: out to all that this machine reaches, and to its
 * own services as `host.hutch.internal`; clouds' metadata stay refused. Nothing comes in but through
 * published ports.
 */
export type NetworkMode = "none" | "nat" | "open";

/** The network of a box, as `Runtime.create` is asked for it. */
export interface NetworkOptions extends RuleOptions {
  /** What the box may reach where no rule says. @default {"nat"} */
  readonly network?: NetworkMode;
  /**
   * Ports of this machine that lead to the box, as `[HOSTIP:][HOSTPORT:]GUESTPORT[/tcp|udp]`. They
   * listen on 127.0.0.1 where no address is given; without a host port the system picks one.
   */
  readonly ports?: readonly string[];
  /**
   * Servers that are asked for names in the box's stead, as an address or `ADDRESS:PORT`
   * (`[ADDRESS]:PORT`); a loopback address is this machine's. @default {this machine's}
   */
  readonly dns?: readonly string[];
  /** Names for the box's `/etc/hosts`; the address `host-gateway` is this machine. */
  readonly extraHosts?: Readonly<Record<string, string>>;
  /**
   * Secrets by the names of variables. The box has a placeholder in each variable; on its way to the
   * secret's hosts, by HTTP over TLS, it is replaced by the value. @default {{}}
   */
  readonly secrets?: Readonly<Record<string, SecretOptions>>;
  /** Most bits per second that the box sends and receives. @default {no limit} */
  readonly bandwidth?: { readonly send?: number; readonly receive?: number };
  /**
   * Tells of each connection's beginning and end by `network.connected` and `network.closed`.
   * @default {false}
   */
  readonly logConnections?: boolean;
}

/** The network of a box, as recorded. */
export interface NetworkConfig {
  /** What kind of network. */
  readonly mode: NetworkMode;
  /** What may be reached before the mode is asked, as the stage `network` has it. */
  readonly rules: readonly string[];
  /** Its secrets, without their values. */
  readonly secrets: readonly SecretConfig[];
  /** The hooks that the program had which made it: they decide in each of its starts. */
  readonly hooks: NetworkHookConfig;
  /** Whether connections are told of. */
  readonly logConnections: boolean;
  /** Ports of the host that lead into the box. */
  readonly ports: readonly PublishedPort[];
  /** Name servers that are asked, by their addresses. */
  readonly dns: readonly string[];
  /** Addresses by names, beside what name servers know. */
  readonly extraHosts: Readonly<Record<string, string>>;
  /** Bits per second, or null for no limit. */
  readonly bandwidth: { readonly send: number | null; readonly receive: number | null };
}

/** A server for names. */
export interface NameServer {
  /** IP address. */
  readonly address: string;
  /** Its port. */
  readonly port: number;
}

/** The modes there are. */
export const NETWORK_MODES = ["none", "nat", "open"] as const satisfies readonly NetworkMode[];

/** No network. */
export const NO_NETWORK: NetworkConfig = {
  mode: "none",
  rules: [],
  secrets: [],
  hooks: NO_HOOKS,
  logConnections: false,
  ports: [],
  dns: [],
  extraHosts: {},
  bandwidth: { send: null, receive: null },
};

const MAX_SERVERS = 8;
const MAX_EXTRA_HOSTS = 500;
/** Below it, one packet would take minutes. */
const LEAST_BANDWIDTH = 8_000;

/**
 * Checks what was asked for and fills in the defaults.
 *
 * @throws HutchError `invalid_option`.
 */
export function networkConfig(options: NetworkOptions): NetworkConfig {
  const { network: mode = "nat", ports = [], dns = [], extraHosts = {}, bandwidth = {} } = options;
  if (!NETWORK_MODES.includes(mode)) {
    refuse(`Cannot give a box the network ${JSON.stringify(mode)}: there is no such mode`, {
      hint: `take one of ${NETWORK_MODES.join(", ")}`,
    });
  }
  if (mode === "none" && ports.length > 0) {
    refuse("Cannot publish ports of a box without a network: nothing leads to it", {
      hint: "take the network nat, or reach its ports by box.connect and box.fetch",
    });
  }
  const rules = ruleTexts(options);
  if (mode === "none" && rules.length > 0) {
    refuse("Cannot allow or deny a box anything without a network: it reaches nothing", {
      hint: "take the network nat or open",
    });
  }
  const secrets = secretConfigs(options.secrets ?? {});
  if (mode === "none" && secrets.length > 0) {
    refuse("Cannot give a box secrets without a network: nothing takes them to their hosts");
  }
  if (dns.length > MAX_SERVERS) {
    refuse(`Cannot ask ${dns.length} name servers: ${MAX_SERVERS} is the most`);
  }
  for (const server of dns) parseServer(server);
  checkHosts(extraHosts);
  return {
    mode,
    rules,
    secrets,
    hooks: NO_HOOKS,
    logConnections: options.logConnections === true,
    ports: parsePorts(ports),
    dns: [...dns],
    extraHosts: { ...extraHosts },
    bandwidth: {
      send: bits(bandwidth.send, "send"),
      receive: bits(bandwidth.receive, "receive"),
    },
  };
}

/**
 * Reads `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
 *
 * @throws HutchError `invalid_option`.
 */
export function parseServer(text: string): NameServer {
  const match = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text) ?? /^([^:]+):(\d{1,5})$/.exec(text);
  const address = match?.[1] ?? text;
  const port = Number(match?.[2] ?? 53);
  if (isIP(address) === 0 || port < 1 || port > 65_535) {
    refuse(
      `Cannot ask the name server ${
        JSON.stringify(text)
      }: it is no IP address, with or without a port`,
    );
  }
  return { address, port };
}

/** Lines for `/etc/hosts`. */
export function hostsLines(extraHosts: Readonly<Record<string, string>>): string[] {
  return Object.entries(extraHosts).map(([name, address]) =>
    `${address === "host-gateway" ? GATEWAYS[0] : address}\t${name}`
  );
}

function checkHosts(extraHosts: Readonly<Record<string, string>>): void {
  const entries = Object.entries(extraHosts);
  if (entries.length > MAX_EXTRA_HOSTS) {
    refuse(`Cannot add ${entries.length} hosts to a box: ${MAX_EXTRA_HOSTS} is the most`);
  }
  for (const [name, address] of entries) {
    if (!/^[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})$/.test(name)) {
      refuse(`Cannot add host ${JSON.stringify(name)}: it is no host name`);
    }
    if (address !== "host-gateway" && isIP(address) === 0) {
      refuse(`Cannot add host ${name}: ${JSON.stringify(address)} is no IP address`, {
        hint: 'write an address, or "host-gateway" for this machine',
      });
    }
  }
}

function bits(rate: number | undefined, what: string): number | null {
  if (rate === undefined) return null;
  if (Number.isSafeInteger(rate) && rate >= LEAST_BANDWIDTH && rate <= 1e12) return rate;
  refuse(
    `Cannot limit what a box may ${what} to ${rate} bits per second: it is no whole number from ${LEAST_BANDWIDTH} to 10^12`,
  );
}

function refuse(message: string, options: { hint?: string } = {}): never {
  throw new HutchError("invalid_option", message, options);
}
