/**
 * From rows and files to boxes: JSON that was written by hutch, and may have been damaged since.
 *
 * @module
 */
import type { BoxConfig } from "../box/options.ts";
import { errorText, HutchError } from "../errors.ts";
import type { StatementSync } from "node:sqlite";
import { STATUSES } from "./box_list.ts";
import type { BoxRecord, BoxState } from "./boxes.ts";

/** A box whose record can't be read. */
export interface DamagedBox {
  /** The box's id. */
  readonly id: string;
  /** The box's name. */
  readonly name: string;
  /** What is wrong with its record. */
  readonly problem: string;
}

type Fields = Readonly<Record<string, unknown>>;
/** A row of the box tables: what {@link COLUMNS} names. */
export type Row = readonly unknown[];

/** What configurations have that were written before hutch knew these. */
const LATER = {
  version: 1,
  volumes: [],
  maxDurationMs: null,
  idleTimeoutMs: null,
  restart: "no",
  health: null,
  network: {
    mode: "none",
    rules: [],
    secrets: [],
    hooks: { kinds: [], hosts: [] },
    logConnections: false,
    ports: [],
    dns: [],
    extraHosts: {},
    bandwidth: { send: null, receive: null },
  },
  main: null,
  init: null,
  stopSignal: "",
  log: { maxBytes: 10 * 2 ** 20, files: 3 },
};

const LATER_KEYS = Object.keys(LATER);

/** The same of networks. */
const LATER_IN_NETWORK = {
  rules: [],
  secrets: [],
  hooks: { kinds: [], hosts: [] },
  logConnections: false,
};
const NETWORK_KEYS = Object.keys(LATER_IN_NETWORK);

/**
 * Reads a box's configuration.
 *
 * @throws Error that says what is wrong with it, for the end of a sentence.
 */
export function parseConfig(text: string): BoxConfig {
  const value: unknown = JSON.parse(text);
  if (!isFields(value)) throw new Error("it isn't an object");
  // Copied only where need be: lists read thousands.
  const older = LATER_KEYS.some((key) => value[key] === undefined);
  const whole: Fields = older ? { ...LATER, ...value } : value;
  const { network } = whole;
  const config: unknown =
    isFields(network) && !NETWORK_KEYS.every((key) => network[key] !== undefined)
      ? { ...whole, network: { ...LATER_IN_NETWORK, ...network } }
      : whole;
  assertConfig(config);
  return config;
}

/**
 * A row of the box tables as a record.
 *
 * @throws Error that says what is wrong with it, for {@link damagedRow}.
 */
export function parseRow(row: Row): BoxRecord {
  const [id, name, , , revision] = row;
  return {
    id: String(id),
    name: String(name),
    config: configOf(row),
    state: stateOf(row),
    revision: Number(revision),
  };
}

/**
 * The same, but a configuration that looks whole, by its beginning and its end, is parsed when it is first
 * asked for: most of a long list is never looked at. If it is damaged all the same, it throws `state_corrupt`
 * then.
 *
 * @throws Error as {@link parseRow}.
 */
export function laterRow(row: Row): BoxRecord {
  const [id, name, text] = row;
  const whole = typeof text === "string" && text.endsWith("}") &&
    text.startsWith(`{"id":"${id}",`) && text.includes(`,"name":"${name}",`); // as they are written
  return whole ? new StoredBox(row) : parseRow(row);
}

class StoredBox implements BoxRecord {
  readonly id: string;
  readonly name: string;
  declare readonly config: BoxConfig;
  readonly state: BoxState;
  readonly revision: number;
  readonly #row: Row;
  #config: BoxConfig | undefined;

  /** A property of each, so that copies have it; one for all, since ten thousand take their time. */
  static readonly #CONFIG: PropertyDescriptor & ThisType<StoredBox> = {
    enumerable: true,
    get() {
      return this.#config ??= this.#parsed();
    },
  };

  constructor(row: Row) {
    const [id, name, , , revision] = row;
    this.id = String(id);
    this.name = String(name);
    this.state = stateOf(row);
    this.revision = Number(revision);
    this.#row = row;
    Object.defineProperty(this, "config", StoredBox.#CONFIG);
  }

  #parsed(): BoxConfig {
    try {
      return configOf(this.#row);
    } catch (error) {
      throw damagedError(damagedRow(this.#row, error));
    }
  }
}

/**
 * The configuration of a row.
 *
 * @throws Error that says what is wrong with it, for {@link damagedRow}.
 */
export function configOf([id, name, text]: Row): BoxConfig {
  const config = parseConfig(String(text));
  if (config.id !== id || config.name !== name) throw new Error("it is another box's");
  return config;
}

function stateOf([, , , status, , pid, bootId, text]: Row): BoxState {
  const document: unknown = JSON.parse(String(text));
  if (!isFields(document)) throw new Error("its state isn't an object");
  const { engine, startedAt, stoppedAt, reason, stage = null, exitCode = null } = document;
  const { stages, ports = [] } = document;
  const state = {
    status,
    pid,
    bootId,
    engine,
    startedAt,
    stoppedAt,
    reason,
    stage,
    exitCode,
    stages,
    ports,
  };
  assertState(state);
  return state;
}

/** Has a statement give rows of {@link COLUMNS}, which take half the time of objects. */
export function givingRows(statement: StatementSync): {
  get(...values: (string | number)[]): Row | undefined;
  all(...values: (string | number)[]): Row[];
} {
  // Deno has it, its types don't.
  if ("setReturnArrays" in statement && typeof statement.setReturnArrays === "function") {
    statement.setReturnArrays(true);
  }
  return {
    get: (...values) => {
      const row = statement.get(...values);
      return row && rowOf(row);
    },
    all: (...values) => statement.all(...values).map(rowOf),
  };
}

function rowOf(row: object): Row {
  return Array.isArray(row) ? row : Object.values(row);
}

/** Which box it is, and what is wrong with its row. */
export function damagedRow([id, name]: Row, error: unknown): DamagedBox {
  return { id: String(id), name: String(name), problem: errorText(error) };
}

/** The error for a box whose record can't be read. */
export function damagedError({ id, name, problem }: DamagedBox): HutchError {
  return new HutchError(
    "state_corrupt",
    `Cannot read the record of box ${JSON.stringify(name)} (${id}): it is damaged: ${problem}`,
    { hint: "hutch doctor --repair restores it from its folder" },
  );
}

// Written for lists of thousands: constants for keys, and no copies.
const TEXTS = ["name", "createdAt", "hostname", "engine", "restart", "stopSignal"];
const IMAGE_TEXTS = ["reference", "digest"];
const EXEC_TEXTS = ["cwd", "user"];
const STATE_TEXTS = ["bootId", "engine", "startedAt", "stoppedAt", "reason", "stage"];
const NUMBERS = ["cpus", "memoryMiB", "diskMiB", "bootTimeoutMs"];
const TIMES = ["maxDurationMs", "idleTimeoutMs"];
const HEALTH_NUMBERS = ["intervalMs", "timeoutMs", "retries", "startPeriodMs"];
const ID = /^[0-9a-f]{12}$/;

function assertConfig(value: unknown): asserts value is BoxConfig {
  const config = fields(value, "it");
  const { id, image, exec, health, volumes } = config;
  if (typeof id !== "string" || !ID.test(id)) throw new Error("its id isn't one");
  for (const key of TEXTS) text(config, key);
  if (config.name === "") throw new Error("its name is empty");
  for (const key of IMAGE_TEXTS) text(fields(image, "image"), key);
  for (const key of NUMBERS) number(config, key);
  for (const key of TIMES) {
    if (config[key] !== null) number(config, key);
  }
  if (typeof config.autoRemove !== "boolean" || typeof config.owned !== "boolean") {
    throw new Error("its autoRemove or owned isn't true or false");
  }
  texts(fields(config.labels, "labels"), "labels");
  const { env } = fields(exec, "exec");
  texts(fields(env, "exec.env"), "exec.env");
  for (const key of EXEC_TEXTS) text(fields(exec, "exec"), key);
  texts(list(config.entrypoint, "entrypoint"), "entrypoint");
  texts(list(config.command, "command"), "command");
  for (const volume of list(volumes, "volumes")) {
    if (typeof volume !== "string") text(fields(volume, "volumes"), "guest");
  }
  assertNetwork(config.network);
  checkMainConfig(config);
  if (health === null) return;
  const check = fields(health, "health");
  texts(list(check.command, "health.command"), "health.command");
  for (const key of HEALTH_NUMBERS) number(check, key);
}

function checkMainConfig({ main, init, log }: Fields): void {
  const limits = fields(log, "log");
  number(limits, "maxBytes");
  number(limits, "files");
  if (init !== null && typeof init !== "string") throw new Error("its init isn't text");
  if (main === null) return;
  const { argv, stdin } = fields(main, "main");
  texts(list(argv, "main.argv"), "main.argv");
  if (typeof stdin !== "boolean") throw new Error("its main.stdin isn't true or false");
}

function assertState(value: unknown): asserts value is BoxState {
  const state = fields(value, "state");
  if (!STATUSES.some((known) => known === state.status)) throw new Error("its state isn't one");
  if (state.pid !== null) number(state, "pid");
  if (state.exitCode !== null) number(state, "exitCode");
  for (const key of STATE_TEXTS) {
    if (state[key] !== null) text(state, key);
  }
  const stages = fields(state.stages, "stages");
  for (const key in stages) number(stages, key);
  assertPorts(state.ports);
}

function assertNetwork(value: unknown): void {
  const network = fields(value, "network");
  text(network, "mode");
  words(network.rules, "network.rules");
  for (const secret of list(network.secrets, "network.secrets")) {
    const each = fields(secret, "network.secrets");
    for (const key of ["name", "placeholder"]) text(each, key);
    for (const key of ["hosts", "places"]) words(each[key], key);
    if (each.from !== null) text(each, "from");
  }
  const hooks = fields(network.hooks, "network.hooks");
  for (const key of ["kinds", "hosts"]) words(hooks[key], `network.hooks.${key}`);
  if (typeof network.logConnections !== "boolean") {
    throw new Error("its network.logConnections isn't true or false");
  }
  texts(list(network.dns, "network.dns"), "network.dns");
  texts(fields(network.extraHosts, "network.extraHosts"), "network.extraHosts");
  const bandwidth = fields(network.bandwidth, "network.bandwidth");
  for (const key of ["send", "receive"]) {
    if (bandwidth[key] !== null) number(bandwidth, key);
  }
  assertPorts(network.ports);
}

function assertPorts(value: unknown): void {
  for (const port of list(value, "ports")) {
    const each = fields(port, "ports");
    for (const key of ["hostIp", "protocol"]) text(each, key);
    for (const key of ["hostPort", "guestPort"]) number(each, key);
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fields(value: unknown, what: string): Fields {
  if (isFields(value)) return value;
  throw new Error(`its ${what} isn't an object`);
}

function list(value: unknown, what: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new Error(`its ${what} isn't a list`);
}

function text(from: Fields, key: string): void {
  if (typeof from[key] !== "string") throw new Error(`its ${key} isn't text`);
}

function number(from: Fields, key: string): void {
  if (typeof from[key] !== "number") throw new Error(`its ${key} isn't a number`);
}

/** Texts that become orders of one line: a file from elsewhere mustn't give others. */
function words(values: unknown, what: string): void {
  const found = list(values, what);
  texts(found, what);
  // deno-lint-ignore no-control-regex -- these are what it is about
  if (found.some((value) => /[\0-\x1f;]/.test(String(value)))) {
    throw new Error(`its ${what} has something else than words`);
  }
}

function texts(values: Fields | readonly unknown[], what: string): void {
  const check = (value: unknown) => {
    if (typeof value !== "string") throw new Error(`its ${what} has something else than text`);
  };
  if (isFields(values)) { for (const key in values) check(values[key]); }
  else values.forEach(check);
}
