/**
 * Puts the modules that box processes start with into one file for each engine, see `src/vmm/built_module.ts`. By
 * Deno's own bundler (`deno bundle`), which gets esbuild from npm at its first use.
 *
 * @module
 */
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { importsOf } from "./checks/scan.ts";
import { BUILT, builtHead, builtPath, isBuiltFrom } from "../src/vmm/built_module.ts";

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
  return await Promise.all(BUILT.map((modules) => build(root, modules)));
}

async function build(root: string, modules: readonly string[]): Promise<BuiltModule> {
  const path = builtPath(modules);
  const output = join(root, path);
  if (isBuiltFrom(output, modules, root)) return { path, result: "fresh" };
  await Deno.mkdir(dirname(output), { recursive: true });
  const name = `${output}.${crypto.randomUUID().slice(0, 8)}`;
  const [first, temporary] = [`${name}.ts`, `${name}.new`];
  try {
    const seen: string[] = [];
    for (const module of modules) modulesOf(join(root, module), seen);
    // Before they are read: what changes meanwhile isn't what was built.
    const sources = seen.map((source) => entry(root, source));
    await Deno.writeTextFile(first, firstModule(root, modules));
    await bundle(first, temporary);
    const text = await Deno.readTextFile(temporary);
    await Deno.writeTextFile(temporary, builtHead(sources) + text);
    await Deno.rename(temporary, output);
    return { path, result: "built" };
  } catch (error) {
    return { path, result: "failed", problem: error instanceof Error ? error.message : `${error}` };
  } finally {
    for (const rest of [first, temporary]) await Deno.remove(rest).catch(() => {});
  }
}

/** What the file is made of: the box process, with a runner if there is one. */
function firstModule(root: string, [module = "", runner]: readonly string[]): string {
  const path = (below: string) => JSON.stringify(pathToFileURL(join(root, below)).href);
  if (runner === undefined) {
    return `import { main } from ${path(module)};\nawait main(Deno.args[0]);\n`;
  }
  return `import { main } from ${path(module)};
import runner from ${path(runner)};
await main(Deno.args[0], runner);
`;
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
