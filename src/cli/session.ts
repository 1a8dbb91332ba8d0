/**
 * What the commands that work on boxes share: opening the runtime, finding boxes, signals.
 *
 * @module
 */
import type { Box } from "../box/box.ts";
import type { BoxOptions } from "../box/options.ts";
import { HutchError } from "../errors.ts";
import { type RegistryConfigs, registryName } from "../images/registry/registries.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { nearest } from "../suggest.ts";
import type { GlobalFlags, Invocation } from "./command.ts";
import { parseDetachKeys, USUAL_DETACH_KEYS } from "./detach_keys.ts";
import { type CliIo, print } from "./io.ts";
import { withProgress } from "./progress.ts";
import type { ProgressFlags } from "./progress_mode.ts";
import { EXIT_HUTCH, exitCodeOf, formatError } from "./report.ts";
import { SignalRelay } from "./signals.ts";

/** Opens the runtime as the global options say. */
export async function openRuntime(globals: GlobalFlags, io: CliIo): Promise<Runtime> {
  // Here, not at the top: help, version and errors in options don't pay for it.
  const { Runtime } = await import("../runtime/runtime.ts");
  const { loadConfig } = await import("../runtime/config_file.ts");
  const config = await loadConfig({
    plugins: globals.plugins,
    ...globals.config === undefined ? {} : { config: globals.config },
  });
  return await Runtime.open({
    ...config,
    registries: withInsecure(config.registries, globals.insecureRegistries),
    ...globals.home === undefined ? {} : { home: globals.home },
    ...globals.debug
      ? { log: (line: string) => void print(io.stderr, `${line}\n`).catch(() => {}) }
      : {},
  });
}

/** The bytes of the detach keys that the environment says, else the configuration. */
export async function configuredDetachKeys({ config }: GlobalFlags): Promise<number[]> {
  const named = Deno.env.get("HUTCH_DETACH_KEYS");
  if (named !== undefined) return parseDetachKeys(named, "HUTCH_DETACH_KEYS");
  const { loadConfig } = await import("../runtime/config_file.ts");
  const { detachKeys, configPath } = await loadConfig(config === undefined ? {} : { config });
  return parseDetachKeys(detachKeys ?? USUAL_DETACH_KEYS, `detachKeys of ${configPath}`);
}

/** Named on the command line, a registry is spoken to without TLS whatever else is said of it. */
function withInsecure(registries: RegistryConfigs, insecure: readonly string[]): RegistryConfigs {
  const whole = { ...registries };
  for (const text of insecure) {
    const name = registryName(text);
    const { ca: _ca, clientCertificate: _certificate, ...kept } = whole[name] ?? {};
    whole[name] = { ...kept, insecure: true };
  }
  return whole;
}

/**
 * Opens the runtime for a command in a box. What goes wrong at its closing is told, but doesn't
 * replace the command's exit code, which is what the user asked for.
 */
export async function withRuntime(
  { open, io, globals }: Invocation,
  work: (runtime: Runtime) => Promise<number>,
): Promise<number> {
  const runtime = await open();
  let code: number;
  try {
    code = await work(runtime);
  } catch (error) {
    await closeQuietly(runtime, io, globals);
    throw error;
  }
  await closeQuietly(runtime, io, globals);
  return code;
}

async function closeQuietly(runtime: Runtime, io: CliIo, globals: GlobalFlags): Promise<void> {
  try {
    await runtime.close();
  } catch (error) {
    await print(io.stderr, formatError(error, globals));
  }
}

/** Finds a box; a miss names the box that may have been meant. */
export async function getBox(runtime: Runtime, word: string): Promise<Box> {
  try {
    return await runtime.get(word);
  } catch (error) {
    if (!(error instanceof HutchError) || error.code !== "box_not_found") throw error;
    const near = nearest(word, (await runtime.list({ all: true })).map((box) => box.name));
    throw new HutchError(error.code, error.message, {
      hint: near === undefined ? "see `hutch ls -a`" : `did you mean ${JSON.stringify(near)}?`,
      cause: error,
    });
  }
}

/**
 * Makes a box; on a terminal, or as the options say, shows how the pull goes if one is needed.
 * Elsewhere standard error belongs to the box's command alone.
 */
export async function createBox(
  runtime: Runtime,
  options: BoxOptions,
  { command, io }: Pick<Invocation, "command" | "io">,
): Promise<Box> {
  const flags = { ...command.opts<ProgressFlags>(), elsewhere: "none" } as const;
  return await withProgress(io, flags, (onPull) => runtime.create({ ...options, onPull }));
}

/** Listens for signals until disposed. */
export function relaySignals(io: CliIo): SignalRelay {
  return new SignalRelay({
    say: (line) => void print(io.stderr, `${line}\n`).catch(() => {}),
    exit: (code) => Deno.exit(code),
  });
}

/**
 * Does something with each box named, and prints its name when it is done. A failure is reported
 * and doesn't keep the others from their turn.
 *
 * @returns hutch's exit code: 0, or that of the first failure.
 */
export async function eachBox(
  invocation: Invocation,
  action: (box: Box) => Promise<void>,
): Promise<number> {
  const { io, globals, args } = invocation;
  await using runtime = await invocation.open();
  let code = 0;
  for (const word of new Set(args)) {
    try {
      await action(await getBox(runtime, word));
      await print(io.stdout, `${word}\n`);
    } catch (error) {
      if (!(error instanceof HutchError)) throw error;
      await print(io.stderr, formatError(error, globals));
      if (code === 0) code = exitCodeOf(error) || EXIT_HUTCH;
    }
  }
  return code;
}
