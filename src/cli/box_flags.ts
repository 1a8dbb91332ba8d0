/**
 * The options that `run` and `create` share.
 *
 * @module
 */
import type { LogOptions } from "../box/main_options.ts";
import type { BoxOptions } from "../box/options.ts";
import { parseSizeMiB } from "../box/size.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import { PULL_POLICIES, type PullPolicy } from "../images/pull/policy.ts";
import { type Lookup, readEnvironment } from "./env.ts";
import { defineLifeFlags, type LifeFlags, lifeOptionsOf } from "./life_flags.ts";
import { NETWORK_MODES, type NetworkMode } from "../network/options.ts";
import type { SecretOptions } from "../network/secrets.ts";
import { parseMount, parseTmpfs } from "./mount_flag.ts";
import { collect, parseChoice, parseCount, parseLabels, parseTimeMs } from "./values.ts";

/** Options that say what commands get. */
export interface ExecFlags {
  readonly env?: readonly string[];
  readonly envFile?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
}

/** Options that say what a box is. */
export interface BoxFlags extends ExecFlags, LifeFlags {
  readonly name?: string;
  readonly pull?: PullPolicy;
  readonly cpus?: number;
  /** In `MiB`. */
  readonly memory?: number;
  /** In `MiB`. */
  readonly disk?: number;
  readonly entrypoint?: string;
  readonly hostname?: string;
  readonly init?: boolean;
  readonly initPath?: string;
  readonly stopSignal?: string;
  readonly logOpt?: readonly string[];
  readonly label?: readonly string[];
  readonly volume?: readonly string[];
  readonly mount?: readonly string[];
  readonly tmpfs?: readonly string[];
  readonly network?: NetworkMode;
  readonly allowNet?: readonly string[];
  readonly denyNet?: readonly string[];
  readonly secret?: readonly string[];
  readonly publish?: readonly string[];
  readonly dns?: readonly string[];
  readonly logConnections?: boolean;
  readonly addHost?: readonly string[];
  readonly engine?: string;
  /** In `ms`. */
  readonly bootTimeout?: number;
  readonly rm?: boolean;
  readonly replace?: boolean;
}

/** Declares {@link ExecFlags}. */
export function defineExecFlags(command: Command): void {
  command
    .option(
      "-e, --env <NAME=VALUE>",
      "set a variable; NAME alone takes yours (repeatable)",
      collect,
    )
    .option("--env-file <FILE>", "set the variables of a file (repeatable)", collect)
    .option("-w, --workdir <PATH>", "working folder in the box")
    .option("-u, --user <USER>", "user in the box: NAME or UID, with :GROUP or :GID");
}

/** Declares {@link BoxFlags}. */
export function defineBoxFlags(command: Command): void {
  command
    .option("--name <NAME>", "the box's name (default: made up)")
    .option(
      "--pull <POLICY>",
      "when to fetch the image: missing, always, never or newer (default: missing)",
      (text: string) => parseChoice(text, PULL_POLICIES, "--pull"),
    )
    .option("--cpus <N>", "virtual CPUs (default: 1)", (text: string) => parseCount(text, "--cpus"))
    .option(
      "-m, --memory <SIZE>",
      "memory, such as 512m or 2g (default: 512m)",
      (text: string) => parseSizeMiB(text, "--memory"),
    )
    .option(
      "--disk <SIZE>",
      "size of the box's disk (default: 10g)",
      (text: string) => parseSizeMiB(text, "--disk"),
    );
  defineExecFlags(command);
  command
    .option("--entrypoint <PROGRAM>", "run PROGRAM in place of the image's entrypoint")
    .option("--hostname <NAME>", "host name in the box (default: its name)")
    .option("--init", "hutch's own first process, which reaps what is left behind (default)")
    .option("--init-path <PATH>", "make the image's program PATH the box's first process")
    .option("--stop-signal <SIGNAL>", "what a stop sends the main command (default: the image's)")
    .option(
      "--log-opt <NAME=VALUE>",
      "max-size=10m or max-file=3 of the box's log (repeatable)",
      collect,
    )
    .option("-l, --label <KEY=VALUE>", "label of the box (repeatable)", collect)
    .option(
      "-v, --volume <SOURCE:GUEST[:ro]>",
      "folder or file of this machine, or a named volume, in the box (repeatable)",
      collect,
    )
    .option(
      "--mount <PARTS>",
      "the same in parts, with commas alone: type=bind (or volume, disk, tmpfs), source=…, target=GUEST, readonly (repeatable)",
      collect,
    )
    .option(
      "--tmpfs <GUEST[:OPTIONS]>",
      "memory as a folder of the box; options size=64m, mode=1777, exec (repeatable)",
      collect,
    )
    .option(
      "--network <MODE>",
      "none, nat or open: what the box may reach (default: nat)",
      (text: string) => parseChoice(text, NETWORK_MODES, "--network"),
    )
    .option(
      "--allow-net <TARGETS>",
      "all that the box may reach, with commas: example.org, *.example.org:443, 10.0.0.0/8, public, host:8080 (repeatable)",
      collect,
    )
    .option(
      "--deny-net <TARGETS>",
      "what it may not reach, written alike (repeatable)",
      collect,
    )
    .option(
      "--secret <NAME:HOSTS>",
      "secret of your variable NAME that these hosts alone get, such as TOKEN:a.example.org (repeatable)",
      collect,
    )
    .option(
      "-p, --publish <PORTS>",
      "port of this machine for one of the box, such as 8080:80, 80 or 53:53/udp (repeatable)",
      collect,
    )
    .option(
      "--dns <ADDRESS>",
      "server for names, in place of this machine's (repeatable)",
      collect,
    )
    .option(
      "--add-host <NAME:ADDRESS>",
      "name for the box's /etc/hosts; host-gateway is this machine (repeatable)",
      collect,
    )
    .option("--log-connections", "tell of each connection's beginning and end as events")
    .option("--engine <ENGINE>", "auto, libkrun or qemu (default: auto)")
    .option(
      "--boot-timeout <TIME>",
      "how long the box may take to answer, in seconds (default: 30)",
      (text: string) => parseTimeMs(text, "--boot-timeout"),
    )
    .option("--rm", "remove the box when it ends")
    .option("--replace", "end and remove a box that has the name");
  defineLifeFlags(command);
}

/** The box that the options ask for. */
export async function boxOptionsOf(
  image: string,
  flags: BoxFlags,
  lookup: Lookup,
): Promise<BoxOptions> {
  const life = lifeOptionsOf(flags);
  if (flags.rm && (life.restart ?? "no") !== "no") {
    throw new HutchError(
      "invalid_option",
      "Cannot use --rm with --restart: a box that goes when it ends can't be started again",
    );
  }
  const env = await readEnvironment(flags.envFile ?? [], flags.env ?? [], lookup);
  return {
    image,
    env,
    labels: parseLabels(flags.label ?? [], "--label"),
    ...flags.volume || flags.mount || flags.tmpfs
      ? {
        volumes: [
          ...flags.volume ?? [],
          ...(flags.mount ?? []).map(parseMount),
          ...(flags.tmpfs ?? []).map(parseTmpfs),
        ],
      }
      : {},
    // Not the API's default, which depends on the name: a box of the command line stays.
    autoRemove: flags.rm === true,
    ...flags.name === undefined ? {} : { name: flags.name },
    ...flags.replace ? { replace: true } : {},
    ...flags.pull === undefined ? {} : { pull: flags.pull },
    ...flags.cpus === undefined ? {} : { cpus: flags.cpus },
    ...flags.memory === undefined ? {} : { memory: flags.memory },
    ...flags.disk === undefined ? {} : { disk: flags.disk },
    ...flags.workdir === undefined ? {} : { cwd: flags.workdir },
    ...flags.user === undefined ? {} : { user: flags.user },
    // Docker takes the text as one word; an empty one takes the entrypoint away.
    ...flags.entrypoint === undefined
      ? {}
      : { entrypoint: flags.entrypoint === "" ? [] : [flags.entrypoint] },
    ...flags.hostname === undefined ? {} : { hostname: flags.hostname },
    ...flags.network === undefined ? {} : { network: flags.network },
    ...flags.allowNet ? { allowNet: targetsOf(flags.allowNet) } : {},
    ...flags.denyNet ? { denyNet: targetsOf(flags.denyNet) } : {},
    ...flags.secret ? { secrets: secretsOf(flags.secret) } : {},
    ...flags.publish ? { ports: flags.publish } : {},
    ...flags.dns ? { dns: flags.dns } : {},
    ...flags.addHost ? { extraHosts: parseHosts(flags.addHost) } : {},
    ...flags.logConnections ? { logConnections: true } : {},
    ...flags.initPath === undefined ? {} : { init: flags.initPath },
    ...flags.stopSignal === undefined ? {} : { stopSignal: flags.stopSignal },
    ...flags.logOpt === undefined ? {} : { log: logOptionsOf(flags.logOpt) },
    ...flags.engine === undefined ? {} : { engine: flags.engine },
    ...flags.bootTimeout === undefined ? {} : { bootTimeoutMs: flags.bootTimeout },
    ...life,
  };
}

/**
 * The values are those of the environment, in this start and later ones. A secret that is there
 * several times has the hosts of all: its source is the same each time, the variable of its name.
 */
function secretsOf(flags: readonly string[]): Record<string, SecretOptions> {
  const hostsOf = new Map<string, Set<string>>();
  for (const flag of flags) {
    const { name, hosts } = parseSecret(flag);
    hostsOf.set(name, new Set([...hostsOf.get(name) ?? [], ...hosts]));
  }
  return Object.fromEntries(
    Array.from(hostsOf, ([name, hosts]) => [name, { from: "env", hosts: [...hosts] }]),
  );
}

function parseSecret(flag: string): { name: string; hosts: readonly string[] } {
  const [name = "", hosts, more] = flag.split(":");
  if (hosts !== undefined && more === undefined) return { name, hosts: hosts.split(",") };
  throw new HutchError(
    "invalid_option",
    `Cannot use --secret ${JSON.stringify(flag)}: it is no NAME:HOST`,
    { hint: "name the variable and who gets its value: --secret TOKEN:api.example.org" },
  );
}

/** Those of all flags; an empty one is none. */
function targetsOf(flags: readonly string[]): string[] {
  return flags.flatMap((flag) => flag.split(",")).filter((target) => target !== "");
}

/** `NAME:ADDRESS` or, as Docker has it too, `NAME=ADDRESS`. */
function parseHosts(words: readonly string[]): Record<string, string> {
  return Object.fromEntries(words.map((word) => {
    const at = word.search(/[:=]/);
    if (at > 0) return [word.slice(0, at), word.slice(at + 1).replace(/^\[(.*)\]$/, "$1")];
    throw new HutchError(
      "invalid_option",
      `Cannot use --add-host ${JSON.stringify(word)}: it has no ":"`,
    );
  }));
}

/** What `run` runs: the entrypoint, then the words given after the image, else the image's command. */
export function commandOf(
  config: { readonly entrypoint: readonly string[]; readonly command: readonly string[] },
  words: readonly string[],
): string[] {
  return [...config.entrypoint, ...words.length > 0 ? words : config.command];
}

/** Docker's names. */
function logOptionsOf(texts: readonly string[]): LogOptions {
  const options = texts.map((text): LogOptions => {
    const [name = "", value = ""] = text.split("=", 2);
    return parseChoice(name, ["max-size", "max-file"], "--log-opt") === "max-size"
      ? { maxBytes: parseSizeMiB(value, "--log-opt max-size") * 2 ** 20 }
      : { files: parseCount(value, "--log-opt max-file") };
  });
  return Object.assign({}, ...options);
}
