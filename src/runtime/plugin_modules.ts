/**
 * Plugins from modules that a person named: by path or URL, imported as any module is, so that
 * Deno's own permissions and lock file apply.
 *
 * @module
 */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { errorText, HutchError } from "../errors.ts";
import { isCompiled } from "../own_process.ts";
import { assertPlugin, describe, type Fields, isFields } from "../plugin/check.ts";
import type { Plugin } from "../plugin/contract.ts";

/** A plugin, and what the person wrote to get it. */
export interface NamedPlugin {
  readonly plugin: Plugin;
  /** Such as `plugin "./audit.ts"`, for messages. */
  readonly from: string;
}

/** The absolute URL of a specifier; a path counts from `folder`. */
export function specifierUrl(specifier: string, folder: string): string {
  // One letter before a colon is a drive, in case somebody brings such a path.
  if (/^[a-z][a-z0-9+.-]+:/i.test(specifier)) return specifier;
  return pathToFileURL(resolve(folder, specifier)).href;
}

/**
 * Imports a module and gives its default export.
 *
 * @param what The module in words for people, such as `plugin "./audit.ts"`.
 * @throws HutchError `plugin_failed` when it isn't there, has an error, or has no default export.
 */
export async function importDefault(url: string, what: string): Promise<unknown> {
  if (isCompiled()) {
    throw new HutchError(
      "plugin_failed",
      `Cannot load ${what}: this program was compiled, and has no modules but its own`,
      { hint: "compile it with that module, or use --no-config for a configuration" },
    );
  }
  let module: Fields;
  try {
    module = await import(url);
  } catch (error) {
    throw new HutchError("plugin_failed", `Cannot load ${what}: ${importProblem(error, url)}`, {
      cause: error,
    });
  }
  if (module.default !== undefined) return module.default;
  throw new HutchError("plugin_failed", `Cannot load ${what}: it has no default export`, {
    hint: "write `export default …`",
  });
}

/**
 * Imports a specifier's plugins. Its default export is a plugin, a list of plugins, a function that
 * makes either, or a configuration with plugins.
 *
 * @param folder What a path counts from.
 * @throws HutchError `plugin_failed` that names the specifier.
 */
export async function importPlugins(specifier: string, folder: string): Promise<NamedPlugin[]> {
  const from = `plugin ${JSON.stringify(specifier)}`;
  const url = specifierUrl(specifier, folder);
  return await pluginsFrom(await importDefault(url, from), from, url);
}

/** Plugins that a program was compiled with, by what they were called then. */
let compiled: readonly (() => Promise<NamedPlugin[]>)[] = [];

/** Loads the modules' plugins in this program whenever it has to have plugins. */
export function setCompiledPlugins(
  modules: Readonly<Record<string, () => Promise<{ readonly default?: unknown }>>>,
): void {
  compiled = Object.entries(modules).map(([specifier, load]) => async () => {
    const from = `plugin ${JSON.stringify(specifier)}`;
    return await pluginsFrom((await load()).default, from, specifier);
  });
}

/** What {@link setCompiledPlugins} was given. */
export function compiledPlugins(): readonly (() => Promise<NamedPlugin[]>)[] {
  return compiled;
}

async function pluginsFrom(value: unknown, from: string, url: string): Promise<NamedPlugin[]> {
  const made = await callIfFunction(value, from);
  if (isFields(made) && made.name === undefined && Array.isArray(made.plugins)) {
    return await pluginsOf(made.plugins, { from, base: url });
  }
  return (Array.isArray(made) ? made : [made]).map((value) => named(value, from));
}

/** Plugins as a configuration lists them: objects and specifiers. `base` is its URL. */
export async function pluginsOf(
  values: readonly unknown[],
  { from, base }: { readonly from: string; readonly base: string },
): Promise<NamedPlugin[]> {
  const found: NamedPlugin[] = [];
  for (const value of values) {
    if (typeof value !== "string") {
      found.push(named(value, `a plugin of ${from}`));
    } else if (base.startsWith("file:")) {
      found.push(...await importPlugins(value, resolve(new URL(".", base).pathname)));
    } else {
      const url = /^[a-z][a-z0-9+.-]+:/i.test(value) ? value : new URL(value, base).href;
      found.push(...await importPlugins(url, "/"));
    }
  }
  return found;
}

/**
 * Refuses two plugins of one name.
 *
 * @param own Names of hutch's own plugins.
 */
export function refuseSameNames(plugins: readonly NamedPlugin[], own: readonly string[]): void {
  const seen = new Map(own.map((name) => [name, "hutch itself"]));
  for (const { plugin: { name }, from } of plugins) {
    const other = seen.get(name);
    if (other !== undefined) {
      throw new HutchError(
        "plugin_failed",
        `Cannot load ${from}: its name ${JSON.stringify(name)} is taken by ${other}`,
        { hint: "leave one of them out, or rename it" },
      );
    }
    seen.set(name, from);
  }
}

function named(value: unknown, from: string): NamedPlugin {
  try {
    assertPlugin(value);
  } catch (error) {
    throw new HutchError("plugin_failed", `Cannot load ${from}: ${errorText(error)}`);
  }
  return { plugin: value, from };
}

async function callIfFunction(value: unknown, from: string): Promise<unknown> {
  if (typeof value !== "function") return value;
  try {
    return await value();
  } catch (error) {
    const problem = `its default export threw: ${firstLine(errorText(error))}`;
    throw new HutchError("plugin_failed", `Cannot load ${from}: ${problem}`, { cause: error });
  }
}

/** One line of what Deno says; it says more, in colours and over many lines. */
function importProblem(error: unknown, url: string): string {
  if (!(error instanceof Error)) return `it threw ${describe(error)}`;
  // deno-lint-ignore no-control-regex -- the colours
  const text = errorText(error).replaceAll(/\x1b\[[0-9;]*m/g, "");
  const first = firstLine(text);
  if (first === `Module not found "${url}"`) return "there is no such module";
  const [, place] = /^\s+at (\S+:\d+:\d+)$/m.exec(text) ?? [];
  return place === undefined ? first : `${first} (at ${place})`;
}

function firstLine(text: string): string {
  return (text.split("\n", 1)[0] ?? "").replace(/\.$/, "");
}
