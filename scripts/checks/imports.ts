/**
 * The rule of which file may import which.
 *
 * Imports point one way: `cli → runtime → box → init → plugin → leaves → common files`. A leaf takes
 * nothing but types from another leaf, but for the edges named below. What goes against that
 * direction may only name types of a contract, since a contract is where both sides meet.
 *
 * @module
 */
import { dirname, join } from "node:path/posix";
import { importsOf } from "./scan.ts";

/** Something that a check found, as `path:line: text`. */
export type Finding = string;

const ORDER = ["cli", "runtime", "box", "init", "plugin"];
const LEAVES = ["images", "disk", "vmm", "guest", "volumes", "network", "state"];
const LEAF_RANK = ORDER.length;
const COMMON_RANK = LEAF_RANK + 1;

/** Files below everything whatever their folder: they say where things are, and import nothing. */
const COMMON = ["src/runtime/paths.ts"];

/** Files whose types are words that two sides share. */
const CONTRACTS = [
  "src/box/box.ts",
  "src/box/options.ts",
  "src/box/copy_options.ts",
  "src/box/exec_options.ts",
  "src/box/snapshot_options.ts",
  "src/plugin/contract.ts",
  "src/runtime/runtime.ts",
];

/** Leaves that stand on another one: the relay speaks the channel's frames. */
const LEAF_EDGES: Readonly<Record<string, readonly string[]>> = { vmm: ["guest"] };

/** The files that may name packages from outside. */
const OUTSIDE = ["src/deps.ts", "tests/deps.ts"];

/** The one file that knows which plugins are on by default. */
const DEFAULTS = "src/runtime/defaults.ts";

/** Checks one file's imports; `path` is relative to the project's root. */
export function checkImports(path: string, text: string): Finding[] {
  const findings: Finding[] = [];
  for (const { specifier, typeOnly, line } of importsOf(text)) {
    const problem = problemOf(path, specifier, typeOnly);
    if (problem !== undefined) findings.push(`${path}:${line}: ${problem}`);
  }
  const native = text.search(/\bDeno\.(?:dlopen|UnsafePointer|UnsafeCallback)\b/);
  if (native >= 0 && !knowsSymbols(path)) {
    const line = text.slice(0, native).split("\n").length;
    findings.push(`${path}:${line}: only ffi/ and plugins/engines/ may know native symbols`);
  }
  return findings;
}

function problemOf(path: string, specifier: string, typeOnly: boolean): string | undefined {
  if (specifier.startsWith("node:")) return undefined;
  if (!specifier.startsWith("./") && !specifier.startsWith("../")) {
    return OUTSIDE.includes(path) ? undefined : `"${specifier}" must come through src/deps.ts`;
  }
  const target = join(dirname(path), specifier);
  if (target.startsWith("../")) return `"${specifier}" is outside of the project`;
  if (path.startsWith("plugins/")) return pluginProblem(path, target);
  if (path.startsWith("ffi/")) {
    const common = isCommon(target) || target.startsWith("ffi/");
    return common ? undefined : `ffi/ may not import ${target}`;
  }
  return path.startsWith("src/") ? sourceProblem(path, target, typeOnly) : undefined;
}

function pluginProblem(path: string, target: string): string | undefined {
  if (target === "mod.ts" || target.startsWith(kindOf(path))) return undefined;
  if (target.startsWith("ffi/") && knowsSymbols(path)) return undefined;
  return `a plugin may import nothing of ours but mod.ts, not ${target}`;
}

/** `plugins/engines/qemu.ts` → `plugins/engines/`. */
function kindOf(path: string): string {
  return path.split("/").slice(0, 2).join("/") + "/";
}

function sourceProblem(path: string, target: string, typeOnly: boolean): string | undefined {
  if (target.startsWith("ffi/")) return undefined;
  if (target.startsWith("plugins/")) {
    return path === DEFAULTS ? undefined : `only ${DEFAULTS} may know plugins by name`;
  }
  if (!target.startsWith("src/")) return `src/ may not import ${target}`;
  const [from, to] = [folderOf(path), folderOf(target)];
  if (from === to && from !== undefined) return undefined;
  const [fromRank, toRank] = [rankOf(path), rankOf(target)];
  if (toRank === undefined) return `src/${to}/ has no place in the order of imports`;
  if (fromRank === undefined) return `src/${from}/ has no place in the order of imports`;
  if (typeOnly && CONTRACTS.includes(target)) return undefined;
  if (fromRank < toRank || (fromRank === COMMON_RANK && toRank === COMMON_RANK)) return undefined;
  if (fromRank === LEAF_RANK && toRank === LEAF_RANK) {
    if (typeOnly || (LEAF_EDGES[from ?? ""] ?? []).includes(to ?? "")) return undefined;
    return `the leaf ${from} may take only types from the leaf ${to}`;
  }
  return `${from ?? "a common file"} may not import ${
    to ?? "a common file"
  }: imports point the other way`;
}

function folderOf(path: string): string | undefined {
  const parts = path.split("/");
  return parts.length > 2 && !isCommon(path) ? parts[1] : undefined;
}

function isCommon(path: string): boolean {
  return COMMON.includes(path) || /^src\/[^/]+$/.test(path);
}

function rankOf(path: string): number | undefined {
  const folder = folderOf(path);
  if (folder === undefined) return COMMON_RANK;
  if (LEAVES.includes(folder)) return LEAF_RANK;
  const rank = ORDER.indexOf(folder);
  return rank < 0 ? undefined : rank;
}

/** Tests of the symbols themselves must know them as well. */
function knowsSymbols(path: string): boolean {
  return /^(?:ffi|plugins\/engines|tests|scripts)\//.test(path);
}
