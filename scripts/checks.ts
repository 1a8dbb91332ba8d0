/**
 * Checks what no compiler does: the direction of imports, names that belong to one machine, the
 * README's table of dependencies, the guide's table of hooks and the length of its plugins. Prints
 * what it finds; ends with code 1 if that is anything.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { checkImports, type Finding } from "./checks/imports.ts";
import { checkNames } from "./checks/names.ts";
import { checkGuide, checkPluginLength } from "./checks/guide.ts";
import { checkReadme } from "./checks/readme.ts";
import { CONTRACT, GUIDE } from "./plugin_table.ts";

/** Folders that aren't the project's own words. */
const SKIPPED = [".git", "build", ".tmp", "node_modules"];

/** All findings in the project at `root`. */
export function checkProject(root: string): Finding[] {
  const files = [...filesBelow(root, "")].sort();
  const findings = files.flatMap((path) => checkNames(path, Deno.readFileSync(join(root, path))));
  for (const path of files.filter((file) => file.endsWith(".ts"))) {
    const text = Deno.readTextFileSync(join(root, path));
    findings.push(...checkImports(path, text), ...checkPluginLength(path, text));
  }
  if (files.includes("README.md")) {
    const read = (path: string): string => Deno.readTextFileSync(join(root, path));
    const deps = files.filter((path) => path.endsWith("/deps.ts")).map(read);
    findings.push(...checkReadme(read("README.md"), { deps, parts: read("scripts/lib/parts.sh") }));
  }
  if (files.includes(GUIDE)) {
    const [guide = "", contract = ""] = [GUIDE, CONTRACT].map((path) =>
      Deno.readTextFileSync(join(root, path))
    );
    findings.push(...checkGuide(guide, contract));
  }
  return findings;
}

function* filesBelow(root: string, folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(join(root, folder))) {
    if (SKIPPED.includes(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* filesBelow(root, path);
    else if (entry.isFile) yield path;
  }
}

if (import.meta.main) {
  const findings = checkProject(dirname(dirname(fileURLToPath(import.meta.url))));
  for (const finding of findings) console.error(finding);
  if (findings.length > 0) Deno.exit(1);
}
