/**
 * Whether a value that came from a module is a plugin: what TypeScript checks for programs, at run
 * time for modules that somebody named.
 *
 * @module
 */
import { nearest } from "../suggest.ts";
import type {
  Events,
  NetworkDecisions,
  Operations,
  Plugin,
  Queries,
  StageHook,
  Stages,
} from "./contract.ts";

// Records, so that a name which the contract gains or loses doesn't compile here.
const STAGES: Record<keyof Stages, true> = {
  layout: true,
  image: true,
  system: true,
  disk: true,
  volumes: true,
  network: true,
  boot: true,
  connect: true,
  configure: true,
  main: true,
};
const OPERATIONS: Record<keyof Operations, true> = {
  create: true,
  exec: true,
  copyIn: true,
  copyOut: true,
  snapshot: true,
  stop: true,
  remove: true,
};
const QUERIES: Record<keyof Queries, true> = {
  engine: true,
  volume: true,
  credentials: true,
  verify: true,
  secret: true,
};
const NETWORK: Record<keyof NetworkDecisions | "hosts", true> = {
  onConnect: true,
  onDns: true,
  onRequest: true,
  onResponse: true,
  hosts: true,
};
const EVENTS: Record<keyof Events, true> = {
  "box.created": true,
  "box.started": true,
  "box.paused": true,
  "box.resumed": true,
  "box.stopped": true,
  "box.failed": true,
  "box.crashed": true,
  "box.removed": true,
  "box.quiesced": true,
  "snapshot.created": true,
  "snapshot.removed": true,
  "snapshot.restored": true,
  "box.health": true,
  "network.denied": true,
  "network.connected": true,
  "network.closed": true,
  "secret.blocked": true,
  "exec.started": true,
  "exec.exited": true,
  "file.copiedIn": true,
  "file.copiedOut": true,
  "image.pulling": true,
  "image.pulled": true,
  "image.tagged": true,
  "image.removed": true,
  "stage.started": true,
  "stage.finished": true,
  "plugin.failed": true,
  "events.dropped": true,
};

/** All types of events. */
export const EVENT_TYPES: readonly string[] = Object.keys(EVENTS);

/** Whether a text is the type of an event. */
export function isEventType(text: string): text is keyof Events {
  return Object.hasOwn(EVENTS, text);
}

const HOOKS: Record<keyof StageHook<unknown, unknown>, true> = {
  before: true,
  wrap: true,
  after: true,
};
const PLUGIN: Record<keyof Plugin, true> = {
  name: true,
  order: true,
  stages: true,
  operations: true,
  resolve: true,
  network: true,
  engines: true,
  sources: true,
  on: true,
  setup: true,
};

/** A value with keys, of which nothing is known. */
export type Fields = Readonly<Record<string, unknown>>;

/** Whether a value is an object that isn't a list. */
export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Takes a value for a plugin if it has the shape of one.
 *
 * @throws Error that says what is wrong with it, for the end of a sentence.
 */
export function assertPlugin(value: unknown): asserts value is Plugin {
  if (!isFields(value)) throw new Error(`it is ${describe(value)}, not a plugin`);
  const { name, order } = value;
  if (typeof name !== "string" || name === "") {
    throw new Error(
      name === undefined ? "a plugin has a name, and it has none" : `its name is ${describe(name)}`,
    );
  }
  refuseUnknown(value, PLUGIN, "");
  if (order !== undefined && order !== "pre" && order !== "post") {
    throw new Error(`its order is ${describe(order)}, not "pre" or "post"`);
  }
  for (const [slot, names] of [["stages", STAGES], ["operations", OPERATIONS]] as const) {
    for (const [key, hook] of fieldsOf(value, slot, names)) {
      if (!isFields(hook)) throw new Error(`its ${slot}.${key} is ${describe(hook)}, not a hook`);
      refuseUnknown(hook, HOOKS, `${slot}.${key}.`);
      for (const [part, run] of Object.entries(hook)) {
        requireFunction(run, `${slot}.${key}.${part}`);
      }
    }
  }
  for (const [slot, names] of [["resolve", QUERIES], ["on", EVENTS]] as const) {
    for (const [key, run] of fieldsOf(value, slot, names)) requireFunction(run, `${slot}.${key}`);
  }
  for (const [key, run] of fieldsOf(value, "network", NETWORK)) {
    if (key !== "hosts") requireFunction(run, `network.${key}`);
  }
  requireFunction(value.setup, "setup");
  checkEngines(value.engines);
  for (const [scheme, source] of fieldsOf(value, "sources")) {
    if (isFields(source) && typeof source.open === "function") continue;
    throw new Error(`its sources.${scheme} is ${describe(source)}, not an image source`);
  }
}

/**
 * Refuses keys that nobody would read, since they are slips.
 *
 * @param prefix What is before them in words for people.
 * @throws Error that names the key and the one which was probably meant.
 */
export function refuseUnknown(value: Fields, known: Fields, prefix: string): void {
  for (const key of Object.keys(value)) {
    if (Object.hasOwn(known, key)) continue;
    const near = nearest(key, Object.keys(known));
    const meant = near === undefined
      ? `known are ${Object.keys(known).join(", ")}`
      : `did you mean ${JSON.stringify(prefix + near)}?`;
    throw new Error(`it has an unknown key ${JSON.stringify(prefix + key)} (${meant})`);
  }
}

/** A value in a few words, for messages. */
export function describe(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  if (typeof value === "function") return "a function";
  return typeof value === "string" ? JSON.stringify(value.slice(0, 80)) : String(value);
}

function fieldsOf(value: Fields, slot: string, known?: Fields): [string, unknown][] {
  const fields = value[slot];
  if (fields === undefined) return [];
  if (!isFields(fields)) throw new Error(`its ${slot} is ${describe(fields)}, not an object`);
  if (known) refuseUnknown(fields, known, `${slot}.`);
  return Object.entries(fields).filter(([, each]) => each !== undefined);
}

function requireFunction(value: unknown, what: string): void {
  if (value === undefined || typeof value === "function") return;
  throw new Error(`its ${what} is ${describe(value)}, not a function`);
}

function checkEngines(engines: unknown): void {
  if (engines === undefined) return;
  if (!Array.isArray(engines)) throw new Error(`its engines is ${describe(engines)}, not a list`);
  for (const engine of engines) {
    const whole = isFields(engine) && typeof engine.name === "string" &&
      typeof engine.probe === "function";
    if (!whole) throw new Error(`its engines has ${describe(engine)}, not an engine`);
  }
}
