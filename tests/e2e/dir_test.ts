/**
 * Boxes from folders.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";
import { hutch, RUN, TEST_ENGINE, withHome, withRuntime } from "./support.ts";

const BUSYBOX = Deno.env.get("HUTCH_BUSYBOX") ?? "/bin/busybox";
const { ignore, note } = needs("busybox");

Deno.test(
  `hutch run makes a box of a folder on ${TEST_ENGINE}${note}`,
  { ignore },
  () =>
    withHome(async (home) => {
      await using folder = new TempFolder();
      const at = (path: string) => join(folder.path, path);
      await Deno.chmod(folder.path, 0o755);
      for (const path of ["bin", "etc", "proc"]) await Deno.mkdir(at(path));
      await Deno.copyFile(BUSYBOX, at("bin/busybox"));
      await Deno.chmod(at("bin/busybox"), 0o755);
      for (const applet of ["sh", "stat", "cat"]) {
        await Deno.symlink("busybox", at(`bin/${applet}`));
      }
      await Deno.link(at("bin/busybox"), at("bin/ls"));
      await Deno.writeTextFile(at("etc/passwd"), "root:x:0:0::/:/bin/sh\nme:x:7:8::/:/bin/sh\n");
      await Deno.writeTextFile(at("word"), "from a folder\n");
      await Deno.symlink("/word", at("link"));
      const image = `dir:${folder.path}?owner=7:8`;
      const command =
        "cat /link; stat -c '%u %g %h %a' /bin/ls /word; echo changed > /word; cat /word";
      for (let round = 0; round < 2; round++) {
        const { code, stdout, stderr } = await hutch(home, [
          ...["run", "--rm", ...RUN, "-u", "me", image, "sh", "-c", command],
        ]);
        assert.equal(code, 0, stderr);
        assert.equal(stdout, "from a folder\n7 8 2 755\n7 8 1 644\nchanged\n");
      }
      assert.equal(await Deno.readTextFile(at("word")), "from a folder\n");
      const gone = await hutch(home, ["run", "--rm", ...RUN, `dir:${at("none")}`, "sh"]);
      assert.equal(gone.code, 125);
      assert.match(gone.stderr, /Cannot read folder .*none: it isn't there/);
    }),
);

Deno.test(`runtime.images.pull says what of a folder is left out`, async () => {
  const lines: string[] = [];
  await withRuntime(async (runtime) => {
    await using folder = new TempFolder();
    using _socket = Deno.listen({ transport: "unix", path: join(folder.path, "socket") });
    await runtime.images.pull(`dir:${folder.path}`);
    const said = lines.filter((line) => line.includes("left out 1 sockets"));
    assert.ok(said.length === 1 && said[0]?.includes(folder.path), lines.join("\n"));
  }, { log: (line) => lines.push(line) });
});
