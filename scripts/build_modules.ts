/**
 * Puts the modules that a box process starts with into one file each, see `src/vmm/built_module.ts`. By
 * Deno's own bundler (`deno bundle`), which gets esbuild from npm at its first use.
 *
 * @module
 */
import { dirname, join, relative } from "node:path";
import { importsOf } from "./checks/scan.ts";
import { BUILT_MODULES, builtHead, builtPath, isBuiltFrom } from "../src/vmm/built_module.ts";

/** How long the bundler may take, in `ms`: it may have to be fetched. */
const LIMIT_MS = 60_000;

/** What became of a module: `failed` has the bundler's last word. */
export interface BuiltModule {
  /** Below the project. */
  readonly path: string;
  readonly result: "built" | "fresh" | "failed";
  readonly problem?: string;
}

/** Builds all that aren't fresh. Hutch works without them. */
export async function buildModules(root: string): Promise<BuiltModule[]> {
  return await Promise.all(BUILT_MODULES.map((module) => build(root, module)));
}

async function build(root: string, module: string): Promise<BuiltModule> {
  const path = builtPath(module);
  const output = join(root, path);
  if (isBuiltFrom(output, module, root)) return { path, result: "fresh" };
  await Deno.mkdir(dirname(output), { recursive: true });
  const temporary = `${output}.${crypto.randomUUID().slice(0, 8)}.new`;
  try {
    // Before they are read: what changes meanwhile isn't what was built.
    const sources = modulesOf(join(root, module)).map((source) => entry(root, source));
    await bundle(join(root, module), temporary);
    const text = await Deno.readTextFile(temporary);
    await Deno.writeTextFile(temporary, builtHead(sources) + text);
    await Deno.rename(temporary, output);
    return { path, result: "built" };
  } catch (error) {
    return { path, result: "failed", problem: error instanceof Error ? error.message : `${error}` };
  } finally {
    await Deno.remove(temporary).catch(() => {});
  }
}

function entry(root: string, source: string): [path: string, size: number, mtimeMs: number] {
  const { size, mtime } = Deno.statSync(source);
  return [relative(root, source), size, mtime?.getTime() ?? 0];
}

/** All modules that one loads when it is loaded, itself first. */
function modulesOf(path: string, seen: string[] = []): string[] {
  if (seen.includes(path)) return seen;
  seen.push(path);
  for (const { specifier, typeOnly } of importsOf(Deno.readTextFileSync(path))) {
    if (typeOnly) continue;
    if (!/^\.\.?\//.test(specifier)) throw new Error(`${path} imports ${specifier}`);
    modulesOf(join(dirname(path), specifier), seen);
  }
  return seen;
}

async function bundle(module: string, output: string): Promise<void> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "bundle",
      "--platform=deno",
      "--quiet",
      "--no-config",
      "--no-lock",
      "-o",
      output,
      module,
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    signal: AbortSignal.timeout(LIMIT_MS),
  }).output();
  if (success) return;
  const said = new TextDecoder().decode(stderr).trim().split("\n");
  // Downloads are told before it, and may have a trace behind.
  throw new Error(said.find((line) => /error/i.test(line)) ?? said[0] ?? "deno bundle failed");
}
