/**
 * Paths in a box: texts, or bytes where a name isn't UTF-8.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { HutchError } from "../../errors.ts";

/**
 * A path in a box, absolute or relative to the box's working folder. Linux's names are bytes; those
 * that aren't UTF-8 can only be given as such, as `pathBytes` of an entry has them.
 */
export type BoxPath = string | URL | Uint8Array;

const SLASH = 0x2f;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Its bytes as they are. */
export function pathBytes(path: BoxPath): Uint8Array<ArrayBuffer> {
  const given = path instanceof URL ? fileURLToPath(path) : path;
  const bytes = typeof given === "string" ? encoder.encode(given) : given.slice();
  if (!bytes.includes(0)) return bytes;
  throw new HutchError(
    "invalid_option",
    `Cannot use path ${pathText(bytes)}: it has a NUL character in it`,
  );
}

/** Its bytes as an absolute path; an empty one stays empty. */
export function absolutePath(path: BoxPath, cwd: string): Uint8Array<ArrayBuffer> {
  const bytes = pathBytes(path);
  return bytes.length === 0 || bytes[0] === SLASH ? bytes : joinPath(encoder.encode(cwd), bytes);
}

/** `name` in `folder`. */
export function joinPath(folder: Uint8Array, name: Uint8Array): Uint8Array<ArrayBuffer> {
  const between = folder.length === 0 || folder.at(-1) === SLASH ? 0 : 1;
  const whole = new Uint8Array(folder.length + between + name.length);
  whole.set(folder);
  if (between === 1) whole[folder.length] = SLASH;
  whole.set(name, folder.length + between);
  return whole;
}

/** As text; what isn't UTF-8 becomes U+FFFD. */
export function decodePath(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** In quotes, for messages. */
export function pathText(path: BoxPath): string {
  return JSON.stringify(path instanceof Uint8Array ? decodePath(path) : String(path));
}
