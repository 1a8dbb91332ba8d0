/**
 * `--env` and `--env-file`, as Docker reads them.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";

/** Looks up a variable of hutch's own environment. */
export type Lookup = (name: string) => string | undefined;

/** Longest env file that is read, in bytes. */
const MAX_FILE = 4 * 1024 * 1024;

/**
 * Merges env files and `--env` pairs: pairs win over files, later ones over earlier ones.
 * `NAME` alone takes the value from `lookup`, and is left out where that has none.
 *
 * @throws {HutchError} `invalid_option` for a pair or a file that can't be used.
 */
export async function readEnvironment(
  files: readonly string[],
  pairs: readonly string[],
  lookup: Lookup,
): Promise<Record<string, string>> {
  const entries: [string, string][] = [];
  for (const file of files) entries.push(...parseEnvFile(await readEnvFile(file), file, lookup));
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    const name = at < 0 ? pair : pair.slice(0, at);
    checkName(name, pair, "--env");
    const value = at < 0 ? lookup(name) : pair.slice(at + 1);
    if (value !== undefined) entries.push([name, value]);
  }
  return Object.fromEntries(entries);
}

/** Reads an env file's text: `NAME=value` verbatim, `NAME` from `lookup`, `#` comments. */
export function parseEnvFile(text: string, file: string, lookup: Lookup): [string, string][] {
  const entries: [string, string][] = [];
  for (const [index, raw] of text.replace(/^\ufeff/, "").split("\n").entries()) {
    const line = raw.replace(/\r$/, "").trimStart();
    if (line === "" || line.startsWith("#")) continue;
    const at = line.indexOf("=");
    const name = at < 0 ? line.trimEnd() : line.slice(0, at);
    const place = `--env-file ${JSON.stringify(file)} line ${index + 1}`;
    checkName(name, line, place);
    if (/\s/.test(name)) {
      throw new HutchError(
        "invalid_option",
        `Cannot read ${place}: the name ${JSON.stringify(name)} has a space in it`,
      );
    }
    const value = at < 0 ? lookup(name) : line.slice(at + 1);
    if (value?.includes("\0")) {
      throw new HutchError("invalid_option", `Cannot read ${place}: the value has a zero byte`);
    }
    if (value !== undefined) entries.push([name, value]);
  }
  return entries;
}

function checkName(name: string, whole: string, what: string): void {
  if (name !== "" && !name.includes("\0")) return;
  throw new HutchError(
    "invalid_option",
    `Cannot read ${what}: ${JSON.stringify(whole)} has no name`,
    {
      hint: "write NAME=VALUE, or NAME to take it from your environment",
    },
  );
}

async function readEnvFile(file: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    using handle = await Deno.open(file);
    // Bounded by reading, not by stat: it may be a pipe or a device.
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    let size = 0;
    for (;;) {
      const buffer = new Uint8Array(64 * 1024);
      const count = await handle.read(buffer);
      if (count === null) break;
      size += count;
      if (size > MAX_FILE) throw new Error(`it is larger than ${MAX_FILE} bytes`);
      chunks.push(buffer.subarray(0, count));
    }
    bytes = new Uint8Array(await new Blob(chunks).arrayBuffer());
  } catch (error) {
    throw new HutchError(
      "invalid_option",
      `Cannot read --env-file ${JSON.stringify(file)}: ${errorText(error)}`,
      { cause: error },
    );
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new HutchError(
      "invalid_option",
      `Cannot read --env-file ${JSON.stringify(file)}: it isn't UTF-8`,
      { cause: error },
    );
  }
}
