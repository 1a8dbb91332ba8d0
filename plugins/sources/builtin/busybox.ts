/**
 * Finding this machine's static busybox and what it can do.
 *
 * @module
 */
import { resolve } from "node:path";
import { errorText, formatPlatform, HutchError, type Platform } from "../../../mod.ts";

/** A busybox that can be put into an image. */
export interface Busybox {
  readonly path: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where its applets belong, such as `bin/ls`; sorted, without `bin/busybox`. */
  readonly applets: readonly string[];
}

const PLACES = ["/bin/busybox", "/usr/bin/busybox"];
const SIZE_LIMIT = 64 * 1024 * 1024;
const APPLET = /^(?:usr\/)?s?bin\/[A-Za-z0-9_.[-]{1,60}$/;
const APPLET_LIMIT = 2000;
const LIST_TIMEOUT_MS = 10_000;
const ELF_MACHINES: ReadonlyMap<string, number> = new Map([["amd64", 62], ["arm64", 183]]);
const PT_INTERP = 3;

/**
 * Finds busybox: at `HUTCH_BUSYBOX`, else at the usual places.
 *
 * @throws {HutchError} `part_missing` when none of them is a static program for `platform`.
 */
export async function findBusybox(platform: Platform, signal: AbortSignal): Promise<Busybox> {
  const named = Deno.env.get("HUTCH_BUSYBOX");
  const problems: string[] = [];
  for (const path of named ? [resolve(named)] : PLACES) {
    const bytes = await readProgram(path);
    const problem = typeof bytes === "string" ? bytes : staticProblem(bytes, platform);
    if (typeof bytes !== "string" && problem === undefined) {
      return { path, bytes, applets: await listApplets(path, signal) };
    }
    problems.push(`${path} ${problem}`);
  }
  throw missing(problems.join(", "));
}

function missing(problem: string, cause?: unknown): HutchError {
  return new HutchError("part_missing", `Cannot make image builtin:busybox: ${problem}`, {
    hint: "apt-get install busybox-static, or name a static busybox with HUTCH_BUSYBOX",
    cause,
  });
}

async function readProgram(path: string): Promise<Uint8Array<ArrayBuffer> | string> {
  try {
    const { isFile, size } = await Deno.stat(path);
    if (!isFile) return "isn't a file";
    if (size > SIZE_LIMIT) return `is larger than ${SIZE_LIMIT} bytes`;
    return await Deno.readFile(path);
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? "isn't there" : errorText(error);
  }
}

/** What keeps the program from running in a box; undefined if nothing does. */
export function staticProblem(
  bytes: Uint8Array<ArrayBuffer>,
  platform: Platform,
): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 64 || view.getUint32(0) !== 0x7f454c46) return "isn't an ELF program";
  if (bytes[4] !== 2 || bytes[5] !== 1) return "isn't a 64-bit little-endian program";
  if (view.getUint16(18, true) !== ELF_MACHINES.get(platform.architecture)) {
    return `isn't for ${formatPlatform(platform)}`;
  }
  const start = Number(view.getBigUint64(32, true));
  const size = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  if (size < 56 || start + size * count > bytes.length) return "is a damaged ELF program";
  for (let index = 0; index < count; index++) {
    if (view.getUint32(start + index * size, true) === PT_INTERP) return "isn't static";
  }
  return undefined;
}

async function listApplets(path: string, signal: AbortSignal): Promise<readonly string[]> {
  const late = AbortSignal.timeout(LIST_TIMEOUT_MS);
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(path, {
      args: ["--list-full"],
      clearEnv: true,
      stdin: "null",
      signal: AbortSignal.any([signal, late]),
    }).output();
  } catch (error) {
    throw missing(`${path} doesn't start: ${errorText(error)}`, error);
  }
  if (signal.aborted) {
    throw new HutchError("cancelled", "Cannot make image builtin:busybox: it was cancelled", {
      cause: signal.reason,
    });
  }
  if (!output.success) throw missing(`${path} doesn't list its applets`);
  const lines = new TextDecoder().decode(output.stdout).split("\n");
  const applets = [...new Set(lines)].filter((line) => APPLET.test(line) && line !== "bin/busybox");
  if (!applets.includes("bin/sh")) throw missing(`${path} has no shell`);
  return applets.sort().slice(0, APPLET_LIMIT);
}
