/**
 * Boxes whose home has no room for what they write.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Runtime } from "../../mod.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { BOX, TEST_ENGINE } from "./support.ts";

const { ignore, note } = needs("mke2fs", "mount", "umount");

/** Takes all that there is room for. */
function fill(path: string): void {
  using file = Deno.openSync(path, { write: true, createNew: true });
  const block = new Uint8Array(64 * 1024);
  try {
    for (;;) file.writeSync(block);
  } catch (error) {
    assert.match(String(error), /No space left/);
  }
}

// On libkrun the guest gets the error; QEMU lets the machine stand still.
if (TEST_ENGINE === "qemu") {
  Deno.test({
    name:
      `a box whose disk finds no room stands still, and goes on once there is some, on qemu${note}`,
    ignore: ignore || Deno.uid() !== 0,
    async fn() {
      await using folder = new TempFolder();
      const [disk, mounted] = [join(folder.path, "disk"), join(folder.path, "mounted")];
      await runTool("mke2fs", "-q", "-t", "ext4", disk, "400M");
      await Deno.mkdir(mounted);
      await runTool("mount", "-o", "loop", disk, mounted);
      try {
        await using runtime = await Runtime.open({ home: join(mounted, "home") });
        await using box = await runtime.create({ ...BOX, network: "none" });
        await box.exec("true");
        const full = join(mounted, "full");
        fill(full);
        let over = false;
        const writing = box.exec("sh", [
          "-c",
          "dd if=/dev/zero of=/written bs=1M count=20 2>/dev/null; sync; md5sum /written",
        ], { signal: AbortSignal.timeout(120_000) }).then((result) => {
          over = true;
          return result;
        });
        // A machine that stands still answers nothing.
        for (let stands = false; !stands;) {
          assert.equal(over, false);
          const answer = box.exec("true", [], { signal: AbortSignal.timeout(2_000) });
          stands = await answer.then(() => false, () => true);
        }
        await Deno.remove(full);
        const { code, stdout } = await writing;
        assert.equal(code, 0);
        assert.match(stdout, /^8f4e33f3dc3e414ff94e5fb6905cba8c /);
        assert.equal((await box.exec("cat", ["/proc/mounts"])).stdout.includes(" / ext4 rw"), true);
      } finally {
        await runTool("umount", mounted);
      }
    },
  });
}
