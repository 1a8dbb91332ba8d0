/**
 * Refuses images and options that a rule forbids, with an error that names the rule: options of a box
 * when it is created; limits, volumes and the engine again in each start, also of boxes that programs
 * without this plugin have made. Who can write to the home folder or run programs of his own isn't
 * bound by it. Options: {@link PolicyRules}; a rule that is left out forbids nothing.
 *
 * @example
 * ```ts
 * import { errorText, Runtime } from "../mod.ts";
 * import { policy } from "./policy.ts";
 * const rules = { images: ["builtin:*"], maxMemory: "1g", forbiddenEnv: ["*TOKEN*"] };
 * await using runtime = await Runtime.open({ plugins: [policy(rules)] });
 * await runtime.create({ image: "debian:12" }).catch((error) => console.log(errorText(error)));
 * // … rule "images" doesn't allow registry:docker.io/library/debian:12
 * ```
 * @module
 */
import { isAbsolute, join, relative } from "node:path";
import { type BoxOptions, definePlugin, HutchError, parseSizeMiB } from "../mod.ts";
import type { Plugin, ResolvedVolume, Runtime } from "../mod.ts";

/** Rules of {@link policy}. `*` in a pattern stands for any text. */
export interface PolicyRules {
  /** Patterns of images that may come here and be used, such as `registry:docker.io/library/*`. */
  readonly images?: readonly string[];
  readonly maxCpus?: number;
  /** In `MiB`, or text such as `"2g"`; a box that doesn't say gets this if the default is more. */
  readonly maxMemory?: number | string;
  /** As `maxMemory`. */
  readonly maxDisk?: number | string;
  /** Patterns of variables that neither boxes nor commands may be given. */
  readonly forbiddenEnv?: readonly string[];
  /** Where volumes may be on the host, after all links; what was made for the box may as well. */
  readonly volumeFolders?: readonly string[];
  /** Only engines on which a guest is behind hardware virtualisation; see the README's table. */
  readonly isolatedEngines?: boolean;
}

const DEFAULTS = { memory: 512, disk: 10 * 1024 }; // as `BoxOptions` has them, in `MiB`

/** Makes the plugin; throws `invalid_option` for a rule that can't be read. */
export function policy(rules: PolicyRules): Plugin {
  const { images = ["*"], maxCpus = Infinity, forbiddenEnv = [], isolatedEngines } = rules;
  const limits = {
    memory: rules.maxMemory === undefined ? Infinity : parseSizeMiB(rules.maxMemory, "maxMemory"),
    disk: rules.maxDisk === undefined ? Infinity : parseSizeMiB(rules.maxDisk, "maxDisk"),
  };
  let isolated: readonly string[] | undefined;

  function checkEnv(env: Readonly<Record<string, string>> = {}): void {
    const name = Object.keys(env).find((name) => matches(forbiddenEnv, name));
    if (name !== undefined) throw forbidden("forbiddenEnv", `the variable ${name}`);
  }

  function sizeOf(options: BoxOptions, what: "memory" | "disk"): number | string {
    const size = options[what] ?? Math.min(DEFAULTS[what], limits[what]);
    checkSize(parseSizeMiB(size, what), what);
    return size;
  }

  function checkSize(size: number, what: "memory" | "disk"): void {
    const rule = what === "memory" ? "maxMemory" : "maxDisk";
    if (size > limits[what]) throw forbidden(rule, `${size} MiB`, `${limits[what]} MiB`);
  }

  function checkCpus(cpus = 1): void {
    if (cpus > maxCpus) throw forbidden("maxCpus", `${cpus} CPUs`, `${maxCpus}`);
  }

  /** The engine to take: the one asked for, or the best that is allowed. */
  async function engineOf(asked: string, runtime: Runtime): Promise<string> {
    if (!isolatedEngines) return asked;
    isolated ??= (await runtime.doctor()).engines
      .filter(({ usable, isolated }) => usable && isolated).map(({ name }) => name);
    const names = isolated;
    const name = asked === "auto" ? names[0] : names.find((name) => name === asked);
    if (name !== undefined) return name;
    throw forbidden("isolatedEngines", `engine ${asked}`, names.join(", ") || "none that is here");
  }

  async function checkVolumes(volumes: readonly ResolvedVolume[], made: string) {
    if (!rules.volumeFolders) return volumes;
    const realPath = (path: string) => Deno.realPath(path).catch(() => undefined); // holds nothing
    const folders = await Promise.all([...rules.volumeFolders, made].map(realPath));
    const bad = volumes.filter((volume) => volume.kind !== "tmpfs")
      .find(({ hostPath }) => !folders.some((folder) => isIn(hostPath, folder)));
    if (bad) throw forbidden("volumeFolders", `a volume from ${bad.hostPath}`);
    return volumes;
  }

  return definePlugin({
    name: "policy",
    order: "post", // what the other plugins made of the options is what counts
    resolve: {
      /** A name that is allowed says nothing of an image that gets it: where it comes from counts. */
      verify({ reference, source }) {
        const bad = [reference, source ?? reference].find((name) => !matches(images, name));
        return bad ? { ok: false, reason: `rule "images" doesn't allow ${bad}` } : undefined;
      },
    },
    operations: {
      create: {
        async before(options, { runtime }) {
          const image = runtime.images.canonical(options.image);
          if (!matches(images, image)) throw forbidden("images", image);
          checkCpus(options.cpus);
          checkEnv(options.env);
          await engineOf(options.engine ?? "auto", runtime); // only to say it early
          return { ...options, memory: sizeOf(options, "memory"), disk: sizeOf(options, "disk") };
        },
      },
      exec: { before: ({ options }) => checkEnv(options.env) },
    },
    stages: {
      layout: {
        before: ({ box: { cpus, memoryMiB, diskMiB } }) => {
          checkCpus(cpus);
          checkSize(memoryMiB, "memory");
          checkSize(diskMiB, "disk");
        },
      },
      volumes: {
        wrap: async (input, next) =>
          await checkVolumes(await next(input), join(input.layout.folder, "volumes")),
      },
      boot: {
        before: async (given, { runtime }) => {
          return { ...given, engine: await engineOf(given.engine, runtime) };
        },
      },
    },
  });
}

function matches(patterns: readonly string[], text: string): boolean {
  const whole = (pattern: string) => pattern.split("*").map(RegExp.escape).join(".*");
  return patterns.some((pattern) => new RegExp(`^${whole(pattern)}$`, "s").test(text));
}

function isIn(path: string, folder: string | undefined): boolean {
  const way = folder === undefined ? ".." : relative(folder, path);
  return way !== ".." && !way.startsWith("../") && !isAbsolute(way);
}

function forbidden(rule: string, what: string, allowed?: string): HutchError {
  const instead = allowed === undefined ? "" : `, only ${allowed}`;
  return new HutchError("invalid_option", `rule "${rule}" doesn't allow ${what}${instead}`);
}
