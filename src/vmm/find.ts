/**
 * Finding the programs and libraries that engines need.
 *
 * @module
 */
import { basename, delimiter, join } from "node:path";
import { cacheFolder } from "../cache_folder.ts";
import { unreadable } from "../permissions.ts";

/**
 * Finds a program: the one that an environment variable names, else the first of `names` in
 * `PATH` (and the system's own folders, which `PATH` may lack).
 *
 * @returns Its path, or undefined.
 */
export function findProgram(
  variable: string,
  names: readonly string[],
): Promise<string | undefined> {
  const named = Deno.env.get(variable);
  if (named) return firstFile([named]);
  const folders = [
    ...(Deno.env.get("PATH") ?? "").split(delimiter),
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/usr/lib/qemu",
    "/usr/libexec",
    "/opt/homebrew/bin",
  ];
  return firstFile(
    names.flatMap((name) =>
      folders.filter((folder) => folder !== "").map((folder) => join(folder, name))
    ),
  );
}

/**
 * Finds a shared library: the one that an environment variable names, else the first of `names`
 * in the folders of the system's linker and in hutch's own tools.
 *
 * @param own Paths below hutch's cache folder, where `scripts/setup` puts what the system lacks.
 * @returns Its path, or undefined.
 */
export function findLibrary(
  variable: string,
  names: readonly string[],
  own: readonly string[],
): Promise<string | undefined> {
  const named = Deno.env.get(variable);
  if (named) return firstFile([named]);
  const triplet = `${Deno.build.arch}-linux-gnu`;
  const folders = Deno.build.os === "darwin" ? ["/opt/homebrew/lib", "/usr/local/lib"] : [
    "/usr/local/lib",
    `/usr/local/lib/${triplet}`,
    `/usr/lib/${triplet}`,
    `/lib/${triplet}`,
    "/usr/lib64",
    "/usr/local/lib64",
    "/usr/lib",
  ];
  return firstFile([
    ...names.flatMap((name) => folders.map((folder) => join(folder, name))),
    ...own.map((path) => join(cacheFolder(), path)),
  ]);
}

/** Why {@link findProgram} or {@link findLibrary} found nothing, after "libkrun: ". */
export function whyNotFound(variable: string): string {
  const named = Deno.env.get(variable);
  const flags = unreadable(named ? [named] : ["/usr", cacheFolder()]);
  if (named) {
    return `${variable} names ${named}, which ${
      flags.length === 0 ? "is no file" : `this program isn't allowed to read (${flags.join(" ")})`
    }`;
  }
  return flags.length === 0
    ? "it is not installed"
    : `it is not where this program is allowed to look (${flags.join(" ")})`;
}

/** The version that a program prints first when asked with `--version`, or undefined. */
export async function programVersion(path: string): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await new Deno.Command(path, {
      args: ["--version"],
      stdin: "null",
      signal: AbortSignal.timeout(5_000),
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    return /\d+(\.\d+)+/.exec(text)?.[0];
  } catch {
    return undefined;
  }
}

/** The version in a library's real file name (`libkrun.so.1.17.4`), or undefined. */
export async function libraryVersion(path: string): Promise<string | undefined> {
  const real = await Deno.realPath(path).catch(() => path);
  return /\.so\.([\d.]+)$|\.([\d.]+)\.dylib$/.exec(basename(real))?.slice(1).find((x) => x);
}

/** What was found, by the places that were looked at: it is looked for there first. */
const found = new Map<string, string>();

async function firstFile(paths: readonly string[]): Promise<string | undefined> {
  const places = paths.join("\0");
  const before = found.get(places);
  if (before !== undefined && await isFile(before)) return before;
  for (const path of paths) {
    if (!await isFile(path)) continue;
    found.set(places, path);
    return path;
  }
  return undefined;
}

async function isFile(path: string): Promise<boolean> {
  return (await Deno.stat(path).catch(() => undefined))?.isFile === true;
}
