/**
 * Digests of large files, so that a start hashes nothing that it has seen before.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { writeAtomically } from "../atomic_file.ts";

/** Digests that this program has asked for, by what a file is known by. */
const asked = new Map<string, string>();

/**
 * The SHA-256 of a file, in hex. Remembered by the file's place, size, time and inode: in `folder`, as
 * `NAME-HEX`.
 *
 * @throws What reading the file throws; as `writeAtomically`.
 */
export async function knownDigest(folder: string, name: string, path: string): Promise<string> {
  const real = await Deno.realPath(path);
  const { size, mtime, ino } = await Deno.stat(real);
  const identity = JSON.stringify([real, size, mtime?.getTime() ?? 0, ino]);
  const digest = asked.get(identity) ?? await recall(folder, name, { real, identity });
  asked.set(identity, digest);
  return digest;
}

async function recall(
  folder: string,
  name: string,
  { real, identity }: { readonly real: string; readonly identity: string },
): Promise<string> {
  const file = join(folder, `${name}-${sha256(identity).slice(0, 32)}`);
  const digest = await Deno.readTextFile(file).catch(() => "");
  if (/^[0-9a-f]{64}$/.test(digest)) return digest;
  const computed = sha256(await Deno.readFile(real));
  await writeAtomically(file, computed);
  return computed;
}

/** The SHA-256 of bytes, or of a text's, in hex. */
export function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}
