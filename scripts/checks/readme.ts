/**
 * Compares the README's tables with what the project takes from outside.
 *
 * @module
 */
import type { Finding } from "./imports.ts";

/** Where the names come from. */
export interface DependencyFiles {
  /** Texts of the files that import from outside. */
  readonly deps: readonly string[];
  /** Text of `scripts/lib/parts.sh`. */
  readonly parts: string;
}

/** Names of the npm and Debian packages that the project uses, sorted. */
export function dependencyNames(files: DependencyFiles): string[] {
  const names = new Set<string>();
  for (const text of files.deps) {
    for (const [, name = ""] of text.matchAll(/"npm:((?:@[^/"@]+\/)?[^/"@]+)/g)) names.add(name);
  }
  for (const [, value = ""] of files.parts.matchAll(/^\w+_package="([^"]+)"$/gm)) {
    names.add(value.replace(/(?<=.)@.*$/, ""));
  }
  for (const [, packages = ""] of files.parts.matchAll(/^ {2}"([^":]+):[^"]*"$/gm)) {
    for (const name of packages.trim().split(/\s+/)) names.add(name);
  }
  return [...names].sort();
}

/**
 * Finds dependencies without a table row that has their name in backticks, and rows for npm
 * packages (`` `npm:NAME` ``) that aren't dependencies.
 */
export function checkReadme(readme: string, files: DependencyFiles): Finding[] {
  const wanted = dependencyNames(files);
  const shown = new Map<string, number>();
  for (const [index, line] of readme.split("\n").entries()) {
    if (!line.trimStart().startsWith("|")) continue;
    for (const [, name = ""] of line.matchAll(/`([^`]+)`/g)) shown.set(name, index + 1);
  }
  const missing = wanted.filter((name) => !shown.has(name) && !shown.has(`npm:${name}`))
    .map((name) => `README.md:1: no table has a line for the package \`${name}\``);
  const stale = [...shown].filter(([name]) => /^npm:/.test(name) && !wanted.includes(name.slice(4)))
    .map(([name, line]) => `README.md:${line}: \`${name}\` is not a dependency (any more)`);
  return [...missing, ...stale];
}
