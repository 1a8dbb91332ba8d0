/**
 * Builds the native parts into `build/` with the system's C compiler (`CC`, else `cc`), and the modules of
 * box processes into one file each, where something changed.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { BuildError, buildTarget } from "../ffi/build.ts";
import { PART_NAMES, PARTS, targetOf } from "../ffi/parts.ts";
import { buildModules } from "./build_modules.ts";

async function main(): Promise<number> {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  for (const part of PART_NAMES.map((each) => PARTS[each])) {
    const name = join("build", part.file);
    const target = targetOf(part, join(root, "ffi"), { output: join(root, name), strict: true });
    try {
      const result = await buildTarget(target);
      if (result === "built") console.error(`built ${name}`);
      if (result === "no sources") {
        console.error(`skipped ${name}: no sources in ${target.sources.join(", ")}`);
      }
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      console.error(error.message);
      return 1;
    }
  }
  for (const { path, result, problem } of await buildModules(root)) {
    if (result === "built") console.error(`built ${path}`);
    if (result === "failed") {
      console.error(`skipped ${path}, boxes start a little slower: ${problem}`);
    }
  }
  return 0;
}

if (import.meta.main) Deno.exit(await main());
