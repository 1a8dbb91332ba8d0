/**
 * Copying a disk that stands still.
 *
 * @module
 */
import { dirname } from "node:path";
import { asNoSpace, isNoSpace } from "../atomic_file.ts";
import { errorText, HutchError } from "../errors.ts";

/**
 * Copies what a file has, without its holes, into a folder that is made; sharing blocks where the file
 * system can (btrfs, XFS, bcachefs), which takes no time.
 *
 * @throws HutchError `no_space`, `copy_failed`.
 */
export async function copyDisk(from: string, to: string): Promise<void> {
  await Deno.mkdir(dirname(to), { recursive: true, mode: 0o700 });
  const { code, stderr } = await new Deno.Command("cp", {
    args: ["--reflink=auto", "--sparse=always", "--", from, to],
    stdin: "null",
    stdout: "null",
    clearEnv: true,
    env: { PATH: "/usr/bin:/bin", LC_ALL: "C" },
  }).output();
  if (code === 0) return;
  const said = new TextDecoder().decode(stderr).trim();
  const full = /No space left|quota exceeded/i.test(said)
    ? Object.assign(new Error(said), { code: "ENOSPC" })
    : new Error(said);
  if (isNoSpace(full)) throw asNoSpace(full, to);
  throw new HutchError("copy_failed", `Cannot copy ${from} to ${to}: ${errorText(full)}`);
}
