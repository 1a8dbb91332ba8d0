/**
 * The configuration of a box that comes out of an archive: nothing in it is believed.
 *
 * @module
 */
import { errorText, HutchError } from "../../errors.ts";
import { NETWORK_MODES, type NetworkConfig } from "../../network/options.ts";
import { GROUPS } from "../../network/rules.ts";
import { parseConfig } from "../../state/box_rows.ts";
import { checkOptions, hostnameOf, randomId } from "../config.ts";
import { checkCommand } from "../exec_check.ts";
import type { BoxConfig, BoxOptions, VolumeSpec } from "../options.ts";
import { badArchive } from "./format.ts";

/** A setting that reaches this machine, and stayed behind. */
export type LeftOut = "volumes" | "ports" | "network" | "rules" | "dns" | "secrets";

/** What is said of an imported box. */
export interface ImportedConfigOptions {
  /** Its name. @default {the one it had} */
  readonly name?: string | undefined;
  /** Whether settings that reach this machine are kept. */
  readonly trust: boolean;
  /** Names of the engines that are here. */
  readonly engines: readonly string[];
}

/**
 * Reads the configuration of an archive's box.
 *
 * @throws {HutchError} `invalid_archive`, `invalid_option` for a name that can't be one.
 */
export function importedConfig(
  said: unknown,
  { name, trust, engines }: ImportedConfigOptions,
): { readonly config: BoxConfig; readonly leftOut: readonly LeftOut[] } {
  const from = readConfig(said);
  const { network, volumes, leftOut } = trust
    ? { network: from.network, volumes: from.volumes, leftOut: [] }
    : withoutReach(from);
  const called = name ?? from.name;
  const hostname = from.hostname === hostnameOf(from.name) ? hostnameOf(called) : from.hostname;
  const engine = engines.includes(from.engine) ? from.engine : "auto";
  const config: BoxConfig = {
    id: randomId(),
    version: 1,
    name: called,
    createdAt: new Date().toISOString(),
    image: { reference: from.image.reference, digest: from.image.digest },
    cpus: Math.min(from.cpus, navigator.hardwareConcurrency),
    memoryMiB: from.memoryMiB,
    diskMiB: from.diskMiB,
    hostname,
    labels: from.labels,
    engine,
    autoRemove: false,
    owned: false,
    bootTimeoutMs: from.bootTimeoutMs,
    volumes,
    network,
    maxDurationMs: from.maxDurationMs,
    idleTimeoutMs: from.idleTimeoutMs,
    restart: from.restart,
    health: from.health,
    exec: { env: from.exec.env, cwd: from.exec.cwd, user: from.exec.user },
    entrypoint: from.entrypoint,
    command: from.command,
    main: from.main,
    init: from.init,
    stopSignal: from.stopSignal,
    log: { maxBytes: from.log.maxBytes, files: from.log.files },
  };
  if (name !== undefined) checkOptions({ image: "", name }); // the caller's own mistake
  try {
    checkOptions(optionsOf(config));
    const [command = "", ...args] = config.main?.argv ?? ["true"];
    const { argv: _argv, stdin: _stdin, ...limits } = config.main ?? { argv: [], stdin: false };
    checkCommand({ command, args, options: limits });
  } catch (error) {
    throw badArchive(`its configuration can't be used here: ${errorText(error)}`, error);
  }
  return { config, leftOut };
}

function readConfig(said: unknown): BoxConfig {
  try {
    return parseConfig(JSON.stringify(said));
  } catch (error) {
    throw badArchive(`the box's configuration can't be read: ${errorText(error)}`, error);
  }
}

/** As much as needs nothing of this machine: memory, and what an ordinary network gives. */
function withoutReach({ volumes, network }: BoxConfig): {
  readonly volumes: readonly VolumeSpec[];
  readonly network: NetworkConfig;
  readonly leftOut: readonly LeftOut[];
} {
  const kept = volumes.filter((volume) =>
    typeof volume === "string" ? /^tmpfs:\//.test(volume) : volume.tmpfs === true
  );
  const open = network.mode === "open";
  const leftOut: LeftOut[] = [];
  if (kept.length < volumes.length) leftOut.push("volumes");
  if (network.ports.length > 0) leftOut.push("ports");
  if (open) leftOut.push("network");
  const rules = network.rules.filter(isUsual);
  if (rules.length < network.rules.length) leftOut.push("rules");
  // They may be this machine's or its neighbours', and are asked from here.
  if (network.dns.length > 0) leftOut.push("dns");
  // Their values would be taken from this machine, for hosts that the file names.
  if (network.secrets.length > 0) leftOut.push("secrets");
  return {
    volumes: kept,
    network: {
      ...network,
      mode: open ? "nat" : network.mode,
      ports: [],
      rules,
      dns: [],
      secrets: [],
    },
    leftOut,
  };
}

/** Whether a rule lets nothing through that an ordinary network doesn't: names lead to public addresses. */
function isUsual(rule: string): boolean {
  if (rule.startsWith("deny ")) return true;
  const [action, direction, _protocol, target = "", _ports, ...more] = rule.split(" ");
  const isName = /^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(target) &&
    !/(^|\.)\d+$/.test(target) && !GROUPS.includes(target) && target !== "any";
  return action === "allow" && direction === "out" && more.length === 0 &&
    (target === "public" || isName);
}

/** What the box would have been asked for with, for the same checks. */
export function optionsOf(config: BoxConfig): BoxOptions {
  const { network, health, init, maxDurationMs, idleTimeoutMs, stopSignal } = config;
  const { send, receive } = network.bandwidth;
  if (!NETWORK_MODES.includes(network.mode)) throw new HutchError("invalid_option", "no network");
  return {
    image: config.image.reference,
    volumes: config.volumes,
    name: config.name,
    cpus: config.cpus,
    memory: config.memoryMiB,
    disk: config.diskMiB,
    hostname: config.hostname,
    labels: config.labels,
    env: config.exec.env,
    cwd: config.exec.cwd,
    user: config.exec.user,
    entrypoint: config.entrypoint,
    bootTimeoutMs: config.bootTimeoutMs,
    restart: config.restart,
    network: network.mode,
    ports: network.ports.map(({ hostIp, hostPort, guestPort, protocol }) =>
      `${hostIp.includes(":") ? `[${hostIp}]` : hostIp}:${hostPort}:${guestPort}/${protocol}`
    ),
    dns: network.dns,
    logConnections: network.logConnections,
    extraHosts: network.extraHosts,
    bandwidth: {
      ...send === null ? {} : { send },
      ...receive === null ? {} : { receive },
    },
    log: config.log,
    ...maxDurationMs === null ? {} : { maxDurationMs },
    ...idleTimeoutMs === null ? {} : { idleTimeoutMs },
    ...health === null ? {} : { health },
    ...init === null ? {} : { init },
    ...stopSignal === "" ? {} : { stopSignal },
  };
}

/**
 * The configuration with what plugins made of {@link optionsOf}.
 *
 * @throws {HutchError} `invalid_option`
 */
export function changedConfig(config: BoxConfig, options: BoxOptions): BoxConfig {
  const { cpus, memoryMiB, network } = checkOptions(options);
  const { hostname, labels, env, cwd, user, volumes, restart } = options;
  return {
    ...config,
    cpus,
    memoryMiB,
    network: {
      ...network,
      rules: [...network.rules, ...config.network.rules],
      secrets: config.network.secrets,
      hooks: config.network.hooks,
    },
    hostname: hostname ?? config.hostname,
    labels: { ...labels },
    exec: {
      env: { ...env },
      cwd: cwd ?? config.exec.cwd,
      user: user ?? config.exec.user,
    },
    volumes: volumes ?? config.volumes,
    restart: restart ?? config.restart,
    maxDurationMs: options.maxDurationMs ?? null,
    idleTimeoutMs: options.idleTimeoutMs ?? null,
  };
}
