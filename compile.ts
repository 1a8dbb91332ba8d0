/**
 * Makes one program of a script that uses hutch, or of hutch itself, with `deno compile`:
 *
 * ```sh
 * deno run -A compile.ts [--output FILE] [--plugin MODULE]... [SCRIPT] [-- FLAGS OF DENO COMPILE]
 * ```
 *
 * The program has the native parts in itself where these modules are files, and is its own box
 * process. Its permissions are those among the flags, `-A` when there are none.
 *
 * @module
 */
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { PART_NAMES, PARTS } from "./ffi/parts.ts";
import { exists, removeIfThere } from "./src/atomic_file.ts";
import { errorText, HutchError } from "./src/errors.ts";
import { defaultPlugins } from "./src/runtime/defaults.ts";
import { specifierUrl } from "./src/runtime/plugin_modules.ts";

const BASE = new URL("./", import.meta.url);

/** What a program is made of. */
export interface CompileOptions {
  /** The script's URL; hutch's command line without one. */
  readonly script?: string;
  /** Plugins of the command line, as `hutch --plugin` names them. @default {[]} */
  readonly plugins?: readonly string[];
  /** Where the program is to be. */
  readonly output: string;
  /** Flags of `deno compile`, those with permissions above all. @default {["-A"]} */
  readonly flags?: readonly string[];
}

/** The program's first module: before the script it finds out what it was started for. */
export function firstModule({ script, plugins = [] }: CompileOptions): string {
  const hutch = (path: string) => JSON.stringify(new URL(path, BASE).href);
  const runners = defaultPlugins().flatMap(({ engines = [] }) =>
    engines.map((each) => each.runner)
  );
  const loads = (urls: readonly string[]) =>
    urls.map((url) => `() => import(${JSON.stringify(url)})`);
  const named = plugins.map((specifier) => {
    const [load = ""] = loads([specifierUrl(specifier, Deno.cwd())]);
    return `${JSON.stringify(specifier)}: ${load}`;
  });
  const start = script === undefined
    ? `const { main } = await import(${
      hutch("src/cli/main.ts")
    });\nDeno.exit(await main(Deno.args));`
    : `await import(${JSON.stringify(script)});`;
  return `import { beOwnProcess } from ${hutch("src/runtime/standalone.ts")};
await beOwnProcess({
  plugins: { ${named.join(", ")} },
  runners: [${loads(runners).join(", ")}],
});
${start}
`;
}

/**
 * The native parts' files, to be embedded.
 *
 * @throws HutchError `part_missing` for one that no box can do without.
 */
export async function embeddedParts(): Promise<string[]> {
  if (BASE.protocol !== "file:") return []; // the program gets them as any import from a URL does
  const found: string[] = [];
  for (const name of PART_NAMES) {
    const path = fileURLToPath(new URL(`build/${PARTS[name].file}`, BASE));
    if (await exists(path)) found.push(path);
    else if (PARTS[name].optional !== true) {
      throw new HutchError("part_missing", `Cannot compile: there is no ${path}`, {
        hint: "deno task build",
      });
    }
  }
  return found;
}

/** The words after `deno` that compile a first module which has been written to a file. */
export async function compileArguments(options: CompileOptions, first: string): Promise<string[]> {
  const { flags = ["-A"], output } = options;
  const includes = (await embeddedParts()).flatMap((path) => ["--include", path]);
  return ["compile", ...flags, ...includes, "--output", output, first];
}

/**
 * Compiles a program.
 *
 * @throws HutchError `part_missing`; Error with the exit code when `deno compile` fails, which has
 * said why.
 */
export async function compile(options: CompileOptions): Promise<void> {
  // Beside the script, so that its configuration counts.
  const folder = options.script?.startsWith("file:")
    ? dirname(fileURLToPath(options.script))
    : BASE.protocol === "file:"
    ? fileURLToPath(BASE)
    : Deno.cwd();
  const first = join(folder, `.hutch-compile-${crypto.randomUUID()}.ts`);
  try {
    await Deno.writeTextFile(first, firstModule(options), { createNew: true });
    const args = await compileArguments(options, first);
    const { success, code } = await new Deno.Command(Deno.execPath(), { args }).spawn().status;
    if (!success) throw new Error(`Cannot compile: deno compile ended with code ${code}`);
  } finally {
    await removeIfThere(first);
  }
}

function readOptions(args: string[]): CompileOptions {
  const end = args.indexOf("--");
  const flags = end < 0 ? [] : args.slice(end + 1);
  const { values, positionals } = parseArgs({
    args: end < 0 ? args : args.slice(0, end),
    allowPositionals: true,
    options: {
      output: { type: "string", short: "o" },
      plugin: { type: "string", multiple: true },
    },
  });
  const [name, ...more] = positionals;
  if (more.length > 0) throw new Error(`Cannot compile: ${more[0]} is one script too many`);
  if (name !== undefined && values.plugin) {
    throw new Error("Cannot compile: --plugin is for hutch itself; a script imports its own");
  }
  const stem = name === undefined ? "hutch" : basename(name).replace(/\.[^.]+$/, "");
  return {
    ...name === undefined ? {} : { script: specifierUrl(name, Deno.cwd()) },
    plugins: values.plugin ?? [],
    output: resolve(values.output ?? stem),
    ...flags.length > 0 ? { flags } : {},
  };
}

if (import.meta.main) {
  try {
    await compile(readOptions([...Deno.args]));
  } catch (error) {
    const hint = error instanceof HutchError && error.hint ? `; ${error.hint}` : "";
    console.error(`${errorText(error)}${hint}`);
    Deno.exit(1);
  }
}
