import assert from "node:assert/strict";
import { join } from "node:path";
import { writeImage } from "../support/layers.ts";
import { latin1, type TarFields, writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const { ignore, note } = needs("mount", "umount", "losetup", "getfattr", "setpriv");
const skipped = ignore || !hasLoopDevices();

/** Not every container may use them. */
function hasLoopDevices(): boolean {
  return new Deno.Command("losetup", { args: ["-f"], stdout: "null", stderr: "null" })
    .outputSync().success;
}

const word = (id: number) =>
  String.fromCharCode(id & 0xff, id >> 8 & 0xff, id >> 16 & 0xff, id >>> 24);
const rule = (tag: number, rights: number, id = -1) =>
  `${String.fromCharCode(tag)}\0${String.fromCharCode(rights)}\0${word(id)}`;
/** User 70000 and group 80000 may read; who else may, the owner alone. */
const LIST = word(2) + rule(1, 6) + rule(2, 4, 70_000) + rule(4, 0) + rule(8, 4, 80_000) +
  rule(16, 4) + rule(32, 0);
const CAPABILITY = `\x01\0\0\x02\x02${"\0".repeat(15)}`;

const entries: readonly TarFields[] = [
  {
    path: "shared",
    mode: 0o640,
    data: "shared",
    pax: {
      "SCHILY.xattr.system.posix_acl_access": LIST,
      "SCHILY.xattr.security.capability": CAPABILITY,
      "SCHILY.xattr.user.large": "v".repeat(3000),
    },
  },
  { path: "d", type: "5", pax: { "SCHILY.xattr.system.posix_acl_default": LIST } },
];

// libkrunfw's kernel leaves lists out, so no box can show this.
Deno.test({
  name: `Ext4Image.applyLayer writes lists and attributes as a kernel reads them${note}`,
  ignore: skipped,
  fn: async () => {
    await using folder = new TempFolder();
    const [image, mounted] = [join(folder.path, "image"), join(folder.path, "mounted")];
    await Deno.chmod(folder.path, 0o755);
    await writeImage(image, [writeTar(...entries)]);
    await Deno.mkdir(mounted);
    await runTool("mount", "-t", "ext4", "-o", "loop,ro,acl", image, mounted);
    try {
      const attribute = async (path: string, name: string) => {
        const where = ["-n", name, "-e", "hex", "--absolute-names", join(mounted, path)];
        return /=0x([0-9a-f]*)$/m.exec(await runTool("getfattr", ...where))?.[1];
      };
      const list = latin1(LIST).toHex();
      assert.equal(await attribute("shared", "system.posix_acl_access"), list);
      assert.equal(await attribute("d", "system.posix_acl_default"), list);
      assert.equal(
        await attribute("shared", "security.capability"),
        latin1(CAPABILITY).toHex(),
      );
      assert.equal(await attribute("shared", "user.large"), "76".repeat(3000));
      const read = async (user: number, group: number) => {
        const ids = ["--reuid", `${user}`, "--regid", `${group}`, "--clear-groups"];
        const { success } = await new Deno.Command("setpriv", {
          args: [...ids, "cat", join(mounted, "shared")],
          stdout: "null",
          stderr: "null",
        }).output();
        return success;
      };
      const owners = [[70_000, 70_000], [70_001, 80_000], [70_001, 70_000], [70_001, 0]] as const;
      const allowed: boolean[] = [];
      for (const [user, group] of owners) allowed.push(await read(user, group));
      assert.deepEqual(allowed, [true, true, false, false]);
    } finally {
      await runTool("umount", mounted);
    }
  },
});
