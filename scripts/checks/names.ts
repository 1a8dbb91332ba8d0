/**
 * What no file of the project may hold: names that belong to one machine or one mirror.
 *
 * @module
 */
import type { Finding } from "./imports.ts";

// Put together here, so that this file doesn't hold them itself.
const HOSTS = [
  ["registry", "npmjs", "org"],
  ["registry", "yarnpkg", "com"],
  ["deb", "debian", "org"],
  ["security", "debian", "org"],
  ["snapshot", "debian", "org"],
  ["archive", "ubuntu", "com"],
].map((parts) => parts.join("."));

// `/root` alone is an ordinary guest's home; these are folders of the machine it is written on.
const PATHS = [["", "work", "main"], ["", "work", "shared"], ["", "tmp", "w", ""], [
  "",
  "root",
  ".cache",
]]
  .map((parts) => parts.join("/"));

/** Checks the bytes of one file; `path` is relative to the project's root. */
export function checkNames(path: string, bytes: Uint8Array): Finding[] {
  if (bytes.includes(0)) return [`${path}:1: is a binary; the project has only sources`];
  const findings: Finding[] = [];
  const lines = new TextDecoder().decode(bytes).split("\n");
  for (const [index, line] of lines.entries()) {
    for (const name of [...HOSTS, ...PATHS]) {
      if (line.includes(name)) {
        findings.push(`${path}:${index + 1}: names "${name}", which is not everywhere`);
      }
    }
  }
  return findings;
}
