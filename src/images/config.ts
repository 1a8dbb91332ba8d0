/**
 * Image configurations: what commands of the image get, and which layers make its file system.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { JsonReader } from "./json.ts";
import { LAYER_COUNT_LIMIT } from "./manifest.ts";
import { formatPlatform, type Platform, platformDistance } from "./platform.ts";

/** Largest configuration, in bytes. */
export const CONFIG_LIMIT = 8 * 1024 * 1024;
const LIST_LIMIT = 10_000;

/** What an image asks for its commands; every default filled in. */
export interface ImageConfig {
  /** Environment of its commands. */
  readonly env: Readonly<Record<string, string>>;
  /** Program and first arguments; may be empty. */
  readonly entrypoint: readonly string[];
  /** Arguments after the entrypoint, or program and arguments without one; may be empty. */
  readonly cmd: readonly string[];
  /** Absolute; `/` unless the image says. */
  readonly workingDir: string;
  /** `name|uid[:group|gid]`; empty for root. */
  readonly user: string;
  /** Labels by their keys. */
  readonly labels: Readonly<Record<string, string>>;
  /** Such as `80/tcp`. */
  readonly exposedPorts: readonly string[];
  /** Folders that the image wants kept apart from its file system. */
  readonly volumes: readonly string[];
  /** Such as `SIGTERM` or `15`; empty when the image doesn't say. */
  readonly stopSignal: string;
}

/** A whole configuration document. */
export interface ConfigDocument {
  /** The machine that it is for. */
  readonly platform: Platform;
  /** Digests of the uncompressed layers, the lowest first. */
  readonly diffIds: readonly string[];
  /** What its boxes begin with. */
  readonly config: ImageConfig;
}

/**
 * Reads an image's configuration.
 *
 * @param layers How many layers the manifest has; the configuration must list as many.
 * @throws {HutchError} `invalid_image`
 */
export function parseConfig(bytes: Uint8Array, document: string, layers: number): ConfigDocument {
  const reader = new JsonReader(document);
  const top = reader.parse(bytes, CONFIG_LIMIT);
  const rootfs = reader.object(top["rootfs"], "rootfs");
  if (rootfs["type"] !== "layers") throw reader.fail('rootfs.type isn\'t "layers"');
  const diffIds = reader.array(rootfs["diff_ids"], "rootfs.diff_ids", LAYER_COUNT_LIMIT, true)
    .map((entry, index) => reader.digest(entry, `rootfs.diff_ids[${index}]`));
  if (diffIds.length !== layers) {
    throw reader.fail(`it lists ${diffIds.length} layers, its manifest ${layers}`);
  }
  const variant = reader.optionalString(top["variant"], "variant");
  return {
    platform: {
      // Old builders left the system out and meant Linux.
      os: reader.optionalString(top["os"], "os") || "linux",
      architecture: reader.string(top["architecture"], "architecture"),
      ...(variant ? { variant } : {}),
    },
    diffIds,
    config: readConfig(reader, top["config"]),
  };
}

function readConfig(reader: JsonReader, value: unknown): ImageConfig {
  const from = value === undefined || value === null ? {} : reader.object(value, "config");
  const workingDir = reader.optionalString(from["WorkingDir"], "config.WorkingDir") ?? "";
  return {
    env: readEnv(reader.strings(from["Env"], "config.Env", LIST_LIMIT)),
    entrypoint: reader.strings(from["Entrypoint"], "config.Entrypoint", LIST_LIMIT),
    cmd: reader.strings(from["Cmd"], "config.Cmd", LIST_LIMIT),
    workingDir: workingDir.startsWith("/") ? workingDir : `/${workingDir}`,
    user: reader.optionalString(from["User"], "config.User") ?? "",
    labels: reader.stringMap(from["Labels"], "config.Labels", LIST_LIMIT),
    exposedPorts: readKeys(reader, from["ExposedPorts"], "config.ExposedPorts"),
    volumes: readKeys(reader, from["Volumes"], "config.Volumes"),
    stopSignal: reader.optionalString(from["StopSignal"], "config.StopSignal") ?? "",
  };
}

/** The last of several with one name counts; what has no name is dropped, as shells do. */
function readEnv(lines: readonly string[]): Readonly<Record<string, string>> {
  const pairs = lines.map((line): [string, string] => {
    const equals = line.indexOf("=");
    return equals < 0 ? [line, ""] : [line.slice(0, equals), line.slice(equals + 1)];
  });
  return Object.fromEntries(pairs.filter(([name]) => name !== ""));
}

function readKeys(reader: JsonReader, value: unknown, field: string): readonly string[] {
  if (value === undefined || value === null) return [];
  const keys = Object.keys(reader.object(value, field));
  if (keys.length > LIST_LIMIT) throw reader.fail(`${field} has more than ${LIST_LIMIT} entries`);
  return keys.map((key) => reader.string(key, field));
}

/**
 * Checks that an image made for `offered` runs on `wanted`.
 *
 * @throws {HutchError} `platform_unsupported`
 */
export function requirePlatform(offered: Platform, wanted: Platform, document: string): void {
  if (platformDistance(wanted, offered) !== undefined) return;
  throw new HutchError(
    "platform_unsupported",
    `Cannot use ${document}: it is for ${formatPlatform(offered)}, ` +
      `this machine's boxes are ${formatPlatform(wanted)}`,
  );
}
