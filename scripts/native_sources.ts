/**
 * Writes `ffi/sources.ts`: the digests of the C sources, which programs that import hutch from a
 * URL fetch and compile.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { PART_NAMES, PARTS, sourcesOf } from "../ffi/parts.ts";

/** The file, below the project's root. */
export const SOURCES_FILE = "ffi/sources.ts";

/** The text of {@link SOURCES_FILE} for the sources below `root`. */
export function sourcesText(root: string): string {
  const ffi = join(root, "ffi");
  const all = [...filesBelow(ffi, "")].filter((file) => /\.[ch]$/.test(file));
  const used = new Set(PART_NAMES.flatMap((name) => sourcesOf(PARTS[name], all)));
  const lines = [...used].sort().map((file) => {
    const digest = createHash("sha256").update(Deno.readFileSync(join(ffi, file))).digest("hex");
    return `  "${file}": "${digest}",\n`;
  });
  return `/**
 * SHA-256 of the native parts' sources by their paths below \`ffi/\`, so that whoever pins hutch's
 * modules has pinned these too. Written by \`deno task native-sources\`.
 *
 * @module
 */

/** SHA-256 by path below \`ffi/\`. */
export const SOURCES: Readonly<Record<string, string>> = {
${lines.join("")}};
`;
}

function* filesBelow(root: string, folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(join(root, folder))) {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory) yield* filesBelow(root, path);
    else if (entry.isFile) yield path;
  }
}

if (import.meta.main) {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  Deno.writeTextFileSync(join(root, SOURCES_FILE), sourcesText(root));
}
