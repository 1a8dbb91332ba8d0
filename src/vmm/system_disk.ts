/**
 * The system disk, `/dev/vda` of every box: the agent and the folders it mounts things on. Made
 * once per agent and shared, read-only.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { makeOnce } from "../atomic_file.ts";
import type { Ext4Image } from "../../ffi/helper.ts";

const FOLDERS = ["/box", "/dev", "/proc", "/run", "/sys"];

/**
 * The system disk's path, made if it isn't cached.
 *
 * @param folder Where system disks are kept, as `system-HEX.ext4` by the agent's digest.
 * @param agent The agent's program file.
 * @param create Opens a new ext4 image.
 */
export async function systemDiskPath(
  folder: string,
  agent: Uint8Array<ArrayBuffer>,
  create: (path: string, uuidFrom: string) => Ext4Image,
): Promise<string> {
  const digest = createHash("sha256").update(agent).digest("hex");
  const path = join(folder, `system-${digest}.ext4`);
  await makeOnce(path, async (temporary) => {
    using image = create(temporary, `sha256:${digest}`);
    for (const name of FOLDERS) image.mkdir(name, 0o755);
    image.file("/init", 0o755, agent);
    await image.finish();
  });
  return path;
}
