/**
 * From what a caller asked for to a box's configuration: checks first, then defaults.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { HutchError } from "../errors.ts";
import type { ImageConfig } from "../images/config.ts";
import { checkMain, mainConfigOf } from "./main_options.ts";
import type { BoxConfig, BoxOptions, HealthCheck } from "./options.ts";
import { type NetworkConfig, networkConfig } from "../network/options.ts";
import { secretVariables } from "../network/secrets.ts";
import { restartRule } from "./restart.ts";
import { parseSizeMiB } from "./size.ts";
import { checkMs, LONGEST_TIMER_MS } from "./times.ts";

/** Smallest memory of a box, in `MiB`. */
export const MIN_MEMORY_MIB = 64;
const DEFAULT_MEMORY_MIB = 512;
const DEFAULT_DISK_MIB = 10 * 1024;
const MAX_DISK_MIB = 64 * 1024 * 1024;
const DEFAULT_BOOT_TIMEOUT_MS = 30_000;
const MAX_HOSTNAME_BYTES = 64;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Options that are known to be good, with the numbers read. */
export interface CheckedOptions {
  readonly options: BoxOptions;
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
  readonly network: NetworkConfig;
}

/**
 * Checks options before anything is made.
 *
 * @param machine What this machine has.
 * @throws HutchError `invalid_option` that names the value.
 */
export function checkOptions(
  options: BoxOptions,
  machine: { readonly cpus: number; readonly memoryMiB: number } = thisMachine(),
): CheckedOptions {
  const { name, cpus = 1, hostname, cwd, bootTimeoutMs } = options;
  if (name !== undefined) checkName(name);
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > machine.cpus) {
    refuse(`Cannot give a box ${cpus} CPUs: this machine has ${machine.cpus}`, {
      hint: `take 1 to ${machine.cpus}`,
    });
  }
  const memoryMiB = sizeOf(options.memory, "memory", DEFAULT_MEMORY_MIB);
  if (!Number.isInteger(memoryMiB) || memoryMiB < MIN_MEMORY_MIB || memoryMiB > machine.memoryMiB) {
    refuse(
      `Cannot give a box ${memoryMiB} MiB of memory: it needs at least ${MIN_MEMORY_MIB} MiB, and this machine has ${machine.memoryMiB} MiB`,
    );
  }
  const diskMiB = sizeOf(options.disk, "disk", DEFAULT_DISK_MIB);
  if (!Number.isInteger(diskMiB) || diskMiB < 1 || diskMiB > MAX_DISK_MIB) {
    refuse(`Cannot give a box a disk of ${diskMiB} MiB: it is not from 1 MiB to 64 TiB`);
  }
  checkEnv(options.env ?? {});
  checkLabels(options.labels ?? {});
  if (hostname !== undefined) checkHostname(hostname);
  if (cwd !== undefined) checkCwd(cwd);
  if (options.user !== undefined) checkText("user", options.user);
  for (const part of options.entrypoint ?? []) checkText("entrypoint", part);
  checkMs("bootTimeoutMs", bootTimeoutMs, 1, LONGEST_TIMER_MS);
  checkTime("maxDurationMs", options.maxDurationMs);
  checkTime("idleTimeoutMs", options.idleTimeoutMs);
  if (options.restart !== undefined && !restartRule(options.restart)) {
    refuse(`Cannot restart a box by ${JSON.stringify(options.restart)}: it is no restart policy`, {
      hint: "take no, on-failure, on-failure:N with N from 1, or always",
    });
  }
  if (options.health) checkHealth(options.health);
  checkMain(options);
  return { options, cpus, memoryMiB, diskMiB, network: networkConfig(options) };
}

/** A box's configuration: the image's defaults under the caller's options. */
export function makeConfig(
  checked: CheckedOptions,
  image: BoxConfig["image"],
  defaults: ImageConfig,
): BoxConfig {
  const { options, cpus, memoryMiB, diskMiB, network } = checked;
  const id = randomId();
  const name = options.name ?? `box-${id}`;
  const entrypoint = options.entrypoint ?? defaults.entrypoint;
  // As Docker does: an entrypoint of one's own doesn't get the image's arguments.
  const command = options.entrypoint ? [] : defaults.cmd;
  const autoRemove = options.autoRemove ?? options.name === undefined;
  return {
    id,
    version: 1,
    name,
    createdAt: new Date().toISOString(),
    image,
    cpus,
    memoryMiB,
    diskMiB,
    hostname: options.hostname ?? hostnameOf(name),
    labels: { ...options.labels },
    engine: options.engine ?? "auto",
    autoRemove,
    owned: autoRemove && options.detached !== true,
    bootTimeoutMs: options.bootTimeoutMs ?? DEFAULT_BOOT_TIMEOUT_MS,
    volumes: options.volumes ?? [],
    network,
    maxDurationMs: options.maxDurationMs ?? null,
    idleTimeoutMs: options.idleTimeoutMs ?? null,
    restart: options.restart ?? "no",
    health: healthOf(options.health),
    exec: {
      env: {
        PATH: DEFAULT_PATH,
        ...defaults.env,
        ...secretVariables(network),
        ...options.env,
      },
      cwd: options.cwd ?? defaults.workingDir,
      user: options.user ?? defaults.user,
    },
    entrypoint,
    command,
    ...mainConfigOf(options, { entrypoint, command }, defaults),
  };
}

/** A health check with every default filled in; null for none. */
export function healthOf(health: HealthCheck | null | undefined): BoxConfig["health"] {
  if (!health) return null;
  return {
    command: [],
    intervalMs: 30_000,
    timeoutMs: 10_000,
    retries: 3,
    startPeriodMs: 60_000,
    ...health,
  };
}

/** Throws `invalid_option` unless the text can be a box's name. */
export function checkName(name: string): void {
  if (NAME.test(name)) return;
  refuse(
    `Cannot name a box ${
      JSON.stringify(name)
    }: a name has 1 to 63 of A-Z a-z 0-9 . _ - and begins with a letter or digit`,
  );
}

/** Throws `invalid_option` unless every name and value can be in an environment. */
export function checkEnv(env: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(env)) {
    if (!/^[^=\0]+$/.test(name)) {
      refuse(
        `Cannot set variable ${
          JSON.stringify(name)
        }: a name isn't empty and has neither "=" nor NUL`,
      );
    }
    if (name.startsWith("HUTCH_")) {
      refuse(
        `Cannot set variable ${JSON.stringify(name)}: names that begin with HUTCH_ are hutch's own`,
      );
    }
    checkText(`variable ${JSON.stringify(name)}`, value);
  }
}

/** Throws `invalid_option` unless the path is absolute. */
export function checkCwd(cwd: string): void {
  if (!cwd.startsWith("/")) {
    refuse(`Cannot work in ${JSON.stringify(cwd)}: a working folder in a box begins with "/"`);
  }
  checkText("working folder", cwd);
}

/** Throws `invalid_option` unless these can be a box's labels. */
export function checkLabels(labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    if (key === "" || key.startsWith("hutch.")) {
      refuse(
        `Cannot set label ${
          JSON.stringify(key)
        }: a key isn't empty and doesn't begin with "hutch."`,
      );
    }
    checkText(`label ${JSON.stringify(key)}`, key + value);
  }
}

/**
 * The host name of a box that has none of its own: its name if that can be one, else as much of it
 * as fits and a hash, so that different names stay different.
 */
export function hostnameOf(name: string): string {
  if (isHostname(name)) return name;
  const hash = createHash("sha256").update(name).digest("hex").slice(0, 8);
  let kept = "";
  let bytes = 0;
  for (const character of name) { // whole ones: none is cut in two
    bytes += new TextEncoder().encode(character).length;
    if (bytes + 1 + hash.length > MAX_HOSTNAME_BYTES) break;
    kept += character;
  }
  return `${kept.replace(/[._-]+$/, "")}-${hash}`;
}

function isHostname(text: string): boolean {
  const bytes = new TextEncoder().encode(text).length;
  return bytes <= MAX_HOSTNAME_BYTES && /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/.test(text);
}

function checkHostname(hostname: string): void {
  if (isHostname(hostname)) return;
  const bytes = new TextEncoder().encode(hostname).length;
  refuse(
    `Cannot use host name ${
      JSON.stringify(hostname)
    }: it has ${bytes} bytes and may have 1 to ${MAX_HOSTNAME_BYTES} of A-Z a-z 0-9 . _ -, a letter or digit at both ends`,
  );
}

function checkHealth(health: HealthCheck): void {
  const { command = [], retries = 3, startPeriodMs = 0 } = health;
  if (command[0] === "") refuse("Cannot check a box's health: its command has an empty program");
  for (const part of command) checkText("health command", part);
  checkTime("health.intervalMs", health.intervalMs);
  checkTime("health.timeoutMs", health.timeoutMs);
  if (startPeriodMs !== 0) checkTime("health.startPeriodMs", startPeriodMs);
  if (!Number.isSafeInteger(retries) || retries < 1) {
    refuse(`Cannot check a box's health with ${retries} retries: it isn't a whole number from 1`);
  }
}

function checkTime(what: string, ms: number | undefined): void {
  if (ms === undefined || (ms > 0 && Number.isFinite(ms))) return;
  refuse(`Cannot use ${what} of ${ms} ms: it is not a positive number`);
}

function checkText(what: string, text: string): void {
  if (text.includes("\0")) refuse(`Cannot use ${what}: it has a NUL character`);
}

function sizeOf(size: number | string | undefined, what: string, usual: number): number {
  if (size === undefined) return usual;
  return typeof size === "number" ? size : parseSizeMiB(size, what);
}

/** 12 lower-case hexadecimal digits. */
export function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(6))]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function thisMachine(): { cpus: number; memoryMiB: number } {
  return {
    cpus: navigator.hardwareConcurrency,
    memoryMiB: Math.floor(Deno.systemMemoryInfo().total / 2 ** 20),
  };
}

function refuse(message: string, options: { hint?: string } = {}): never {
  throw new HutchError("invalid_option", message, options);
}
