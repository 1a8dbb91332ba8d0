/**
 * The system disk, `/dev/vda` of every box: the agent and the folders it mounts things on. Made
 * once per agent and shared, read-only.
 *
 * @module
 */
import { join } from "node:path";
import { makeOnce } from "../atomic_file.ts";
import type { Ext4Image } from "../../ffi/helper.ts";
import { knownDigest, sha256 } from "./known_digest.ts";

const FOLDERS = ["/box", "/dev", "/proc", "/run", "/sys"];

/**
 * The system disk's path, made if it isn't cached.
 *
 * @param folder Where system disks are kept, as `system-HEX.ext4` by the agent's digest, and what is known of
 * that.
 * @param agent The agent's program file.
 * @param create Opens a new ext4 image.
 */
export async function systemDiskPath(
  folder: string,
  agent: string,
  create: (path: string, uuidFrom: string) => Ext4Image,
): Promise<string> {
  const digest = await knownDigest(folder, "agent", agent);
  const path = join(folder, `system-${digest}.ext4`);
  await makeOnce(path, async (temporary) => {
    const program = await Deno.readFile(agent);
    if (sha256(program) !== digest) throw new Error(`${agent} changed as it was read`);
    using image = create(temporary, `sha256:${digest}`);
    for (const name of FOLDERS) image.mkdir(name, 0o755);
    image.file("/init", 0o755, program);
    await image.finish();
  });
  return path;
}
