/**
 * The configuration file `hutch.config.ts`: found, imported, checked.
 *
 * @module
 */
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { IMAGE_LIMITS, type ImageLimits, isLimit } from "../../ffi/helper.ts";
import type { BoxOptions } from "../box/options.ts";
import { errorText, HutchError } from "../errors.ts";
import { asPermissionError } from "../permissions.ts";
import { describe, type Fields, isFields, refuseUnknown } from "../plugin/check.ts";
import type { Plugin } from "../plugin/contract.ts";
import type { RegistryConfigs } from "../images/registry/registries.ts";
import { defaultPlugins } from "./defaults.ts";
import { readRegistries } from "./registry_config.ts";
import {
  compiledPlugins,
  importDefault,
  importPlugins,
  pluginsOf,
  refuseSameNames,
  specifierUrl,
} from "./plugin_modules.ts";

/** Options that every box gets where its creator doesn't say; not those that tell one from another. */
export type BoxDefaults = Omit<
  BoxOptions,
  | "image"
  | "name"
  | "hostname"
  | "autoRemove"
  | "detached"
  | "replace"
  | "main"
  | "init"
  | "stopSignal"
  | "signal"
  | "onPull"
>;

/** What a configuration file says. */
export interface HutchConfig {
  /** Plugins, or specifiers of modules with plugins; paths count from the file's folder. @default {[]} */
  readonly plugins?: readonly (Plugin | string)[];
  /** Options of boxes, under what a box's creator says; `env` and `labels` are merged. @default {{}} */
  readonly defaults?: BoxDefaults;
  /** How registries are spoken to, by their names; paths count from the file's folder. @default {{}} */
  readonly registries?: RegistryConfigs;
  /**
   * Keeps what `hutch login` is told in place of a file in home: the NAME of an installed
   * `docker-credential-NAME`. @default {none}
   */
  readonly credentialHelper?: string;
  /** What an image may hold before its disk is refused. @default {64 GiB, 5 million entries} */
  readonly imageLimits?: ImageLimits;
  /** How many layers of an image are fetched at once, 1 to 32. @default {4} */
  readonly parallelDownloads?: number;
  /** Whether emulated machines go on from a boot that is kept; see `RuntimeOptions`. @default {true} */
  readonly preboot?: boolean;
  /**
   * What is typed to let go of a command of `hutch run -it`: keys with commas between them, such as
   * `ctrl-p,ctrl-q` or `ctrl-]`; empty for none. `HUTCH_DETACH_KEYS` counts before it.
   *
   * @default {"ctrl-p,ctrl-q"}
   */
  readonly detachKeys?: string;
}

/** Options of {@link loadConfig}. */
export interface LoadConfigOptions {
  /** The file; `false` for none. @default {`HUTCH_CONFIG`, else what a search finds} */
  readonly config?: string | false;
  /** Specifiers of modules with plugins, added to the file's: paths or URLs. @default {[]} */
  readonly plugins?: readonly string[];
  /** Where the search begins, and what paths count from. @default {the working folder} */
  readonly folder?: string;
}

/** What {@link loadConfig} found, as `Runtime.open` takes it. */
export interface LoadedConfig {
  /** The file's path, if there is one. */
  readonly configPath?: string;
  /** Every plugin, in the order of the configuration and the flags. */
  readonly plugins: readonly Plugin[];
  /** Absolute URLs of the modules that the plugins came from, to be loaded again elsewhere. */
  readonly pluginSpecifiers: readonly string[];
  /** What every box gets that says nothing else. */
  readonly defaults: BoxDefaults;
  /** With absolute paths. */
  readonly registries: RegistryConfigs;
  /** Docker's credential helper that keeps logins. */
  readonly credentialHelper?: string;
  /** What images may hold. */
  readonly imageLimits: ImageLimits;
  /** How many blobs come at once. */
  readonly parallelDownloads?: number;
  /** Whether boots are kept. */
  readonly preboot?: boolean;
  /** For the command line. */
  readonly detachKeys?: string;
}

/** Names of the file; the first that is there counts. */
const NAMES = ["hutch.config.ts", "hutch.config.js", "hutch.config.mjs"];

const CONFIG: Record<keyof HutchConfig, true> = {
  plugins: true,
  defaults: true,
  registries: true,
  credentialHelper: true,
  imageLimits: true,
  parallelDownloads: true,
  preboot: true,
  detachKeys: true,
};
const DEFAULTS: Record<keyof BoxDefaults, true> = {
  pull: true,
  cpus: true,
  memory: true,
  disk: true,
  env: true,
  cwd: true,
  user: true,
  entrypoint: true,
  labels: true,
  engine: true,
  bootTimeoutMs: true,
  volumes: true,
  network: true,
  allowNet: true,
  denyNet: true,
  networkRules: true,
  secrets: true,
  ports: true,
  dns: true,
  extraHosts: true,
  bandwidth: true,
  logConnections: true,
  maxDurationMs: true,
  idleTimeoutMs: true,
  restart: true,
  health: true,
  log: true,
};

/**
 * Gives a configuration back as it is, with its type checked; the default export of
 * `hutch.config.ts`.
 *
 * @example All boxes with 2 CPUs, and a plugin that tells of failures
 * ```ts
 * import { defineConfig } from "@hutch/hutch";
 * export default defineConfig({
 *   defaults: { cpus: 2, memory: "1g", labels: { team: "web" } },
 *   plugins: [{ name: "tell", on: { "box.failed": ({ name, reason }) => console.error(name, reason) } }],
 *   registries: {
 *     "registry.test:5000": { insecure: true },
 *     "docker.io": { mirrors: ["mirror.test"] },
 *   },
 * });
 * ```
 */
export function defineConfig(config: HutchConfig): HutchConfig {
  return config;
}

/**
 * Finds and loads what `hutch` itself would: `hutch.config.ts` (or `.js`, `.mjs`) in the working
 * folder, in those above it, then in the user's home folder, and plugins by their specifiers.
 *
 * A configuration is a program that runs with one's rights: one that the search finds must belong to
 * this user or to root.
 *
 * @throws HutchError `invalid_option` for a file that isn't there, belongs to somebody else or isn't a
 * configuration, `plugin_failed` for a module that can't be loaded or isn't a plugin.
 * @example A program that follows the user's configuration
 * ```ts
 * import { loadConfig, Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open(await loadConfig());
 * ```
 */
export async function loadConfig(options: LoadConfigOptions = {}): Promise<LoadedConfig> {
  const folder = resolve(options.folder ?? ".");
  const asked = options.config ?? (Deno.env.get("HUTCH_CONFIG") || undefined);
  const path = asked === false
    ? undefined
    : asked === undefined
    ? await findConfig(folder)
    : await namedConfig(asked, folder);
  const config = path === undefined ? {} : await readConfig(path);
  const specifiers = (options.plugins ?? []).map((each) => specifierUrl(each, folder));
  const plugins = [];
  if (path !== undefined && config.plugins && config.plugins.length > 0) {
    const base = pathToFileURL(path).href;
    plugins.push(...await pluginsOf(config.plugins, { from: path, base }));
    specifiers.unshift(base);
  }
  for (const load of compiledPlugins()) plugins.push(...await load());
  for (const specifier of options.plugins ?? []) {
    plugins.push(...await importPlugins(specifier, folder));
  }
  refuseSameNames(plugins, defaultPlugins().map(({ name }) => name));
  return {
    ...path === undefined ? {} : { configPath: path },
    plugins: plugins.map(({ plugin }) => plugin),
    pluginSpecifiers: specifiers,
    defaults: config.defaults ?? {},
    registries: config.registries ?? {},
    imageLimits: config.imageLimits ?? {},
    ...config.credentialHelper === undefined ? {} : { credentialHelper: config.credentialHelper },
    ...config.parallelDownloads === undefined
      ? {}
      : { parallelDownloads: config.parallelDownloads },
    ...config.preboot === undefined ? {} : { preboot: config.preboot },
    ...config.detachKeys === undefined ? {} : { detachKeys: config.detachKeys },
  };
}

async function namedConfig(name: string, folder: string): Promise<string> {
  const path = resolve(folder, name);
  try {
    if ((await Deno.stat(path)).isFile) return path;
  } catch (error) {
    throw refusal(name, error instanceof Deno.errors.NotFound ? "it isn't there" : error);
  }
  throw refusal(name, "it is not a file");
}

/** The nearest file from `folder` upward, else in the user's home folder. */
async function findConfig(folder: string): Promise<string | undefined> {
  for (let at = folder;; at = dirname(at)) {
    const found = await configIn(at);
    if (found !== undefined) return found;
    if (dirname(at) === at) break;
  }
  const user = Deno.env.get("HOME");
  return user ? await configIn(resolve(user)) : undefined;
}

async function configIn(folder: string): Promise<string | undefined> {
  for (const name of NAMES) {
    const path = join(folder, name);
    try {
      const { isFile, uid } = await Deno.stat(path);
      if (!isFile) continue;
      // A link's owner chose what it shows.
      for (const owner of [uid, (await Deno.lstat(path)).uid]) refuseStranger(path, owner);
      return path;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
        continue;
      }
      // What we can't look at isn't meant for us.
      if (error instanceof Deno.errors.PermissionDenied) continue;
      throw asPermissionError(error, "look for a configuration");
    }
  }
  return undefined;
}

function refuseStranger(path: string, owner: number | null): void {
  const self = Deno.uid();
  if (self === null || owner === null || owner === self || owner === 0) return;
  throw new HutchError(
    "invalid_option",
    `Cannot use configuration ${path}: it belongs to user ${owner}, and you are ${self}`,
    { hint: "to run what is in it, name it with --config or HUTCH_CONFIG; else use --no-config" },
  );
}

async function readConfig(path: string): Promise<HutchConfig> {
  const value = await importDefault(pathToFileURL(path).href, `configuration ${path}`);
  try {
    assertConfig(value);
    const registries = readRegistries(value.registries ?? {}, dirname(path));
    return { ...value, registries: Object.fromEntries(registries) };
  } catch (error) {
    throw refusal(path, error);
  }
}

/** The shapes alone: a value that doesn't suit this machine matters only to the box that gets it. */
function assertConfig(value: unknown): asserts value is HutchConfig {
  if (!isFields(value)) throw new Error(`its default export is ${describe(value)}, not an object`);
  refuseUnknown(value, CONFIG, "");
  if (value.plugins !== undefined && !Array.isArray(value.plugins)) {
    throw new Error(`its plugins is ${describe(value.plugins)}, not a list`);
  }
  const defaults = fieldsOf(value, "defaults");
  if (defaults) {
    refuseUnknown(defaults, DEFAULTS, "defaults.");
    for (const key of ["env", "labels"]) {
      for (const [name, text] of Object.entries(fieldsOf(defaults, key) ?? {})) {
        if (typeof text === "string") continue;
        throw new Error(`its defaults.${key}.${name} is ${describe(text)}, not text`);
      }
    }
  }
  const limits = fieldsOf(value, "imageLimits");
  if (limits) {
    refuseUnknown(limits, IMAGE_LIMITS, "imageLimits.");
    for (const [name, limit] of Object.entries(limits)) {
      if (isLimit(limit)) continue;
      throw new Error(`its imageLimits.${name} is ${describe(limit)}, not a positive integer`);
    }
  }
  const { parallelDownloads } = value;
  if (parallelDownloads !== undefined && !isLimit(parallelDownloads)) {
    throw new Error(
      `its parallelDownloads is ${describe(parallelDownloads)}, not a positive integer`,
    );
  }
  const { preboot } = value;
  if (preboot !== undefined && typeof preboot !== "boolean") {
    throw new Error(`its preboot is ${describe(preboot)}, not true or false`);
  }
  for (const key of ["credentialHelper", "detachKeys"] as const) {
    const text = value[key];
    if (text === undefined || typeof text === "string") continue;
    throw new Error(`its ${key} is ${describe(text)}, not text`);
  }
}

function fieldsOf(value: Fields, key: string): Fields | undefined {
  const fields = value[key];
  if (fields === undefined || isFields(fields)) return fields;
  throw new Error(`its ${key} is ${describe(fields)}, not an object`);
}

function refusal(path: string, problem: unknown): HutchError {
  return new HutchError(
    "invalid_option",
    `Cannot use configuration ${path}: ${errorText(problem)}`,
    {
      ...problem instanceof Error ? { cause: problem } : {},
    },
  );
}
