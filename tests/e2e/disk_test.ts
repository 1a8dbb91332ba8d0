/**
 * Boxes from disks, and how large their own disks are.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DISK_TOOLS, makeExt4, toQcow2 } from "../support/disks.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { BOX, hutch, RUN, TEST_ENGINE, until, withHome, withRuntime } from "./support.ts";

const BUSYBOX = Deno.env.get("HUTCH_BUSYBOX") ?? "/bin/busybox";
const { ignore, note } = needs("busybox", ...DISK_TOOLS);
const on = `on ${TEST_ENGINE}${note}`;
const OTHERS = needs("busybox", "mkfs.xfs", "mkfs.btrfs", "qemu-img");

/** What doesn't depend on the engine is a test on the quickest alone: libkrun in the lab takes its time. */
function testOnce(name: string, ignore: boolean, test: () => Promise<void>): void {
  if (TEST_ENGINE === "qemu") Deno.test(name, { ignore }, test);
}

/** A raw disk of 24 MiB with busybox and `/word`. */
async function makeDisk(folder: string): Promise<string> {
  const root = join(folder, "root");
  await Deno.mkdir(join(root, "bin"), { recursive: true });
  await Deno.copyFile(BUSYBOX, join(root, "bin/busybox"));
  await Deno.chmod(join(root, "bin/busybox"), 0o755);
  for (const applet of ["sh", "cat", "df", "dd", "mknod", "cut", "printf", "sync", "tr"]) {
    await Deno.symlink("busybox", join(root, "bin", applet));
  }
  await Deno.writeTextFile(join(root, "word"), "from a disk\n");
  return await makeExt4(join(folder, "disk.raw"), root, { mebibytes: 24 });
}

testOnce(
  `hutch run boots from raw and qcow2 disks, with the box's own size ${on}`,
  ignore,
  () =>
    withHome(async (home) => {
      await using folder = new TempFolder();
      const raw = await makeDisk(folder.path);
      const before = await Deno.readFile(raw);
      const qcow2 = await toQcow2(raw, join(folder.path, "disk.qcow2"), { compress: true });
      const sizes: number[] = [];
      for (const [image, disk] of [[raw, "64m"], [qcow2, "300m"]] as const) {
        const { code, stdout, stderr } = await hutch(home, [
          ...["run", "--rm", ...RUN, "--disk", disk, `disk:${image}`],
          ...["sh", "-c", "cat /word; echo changed > /word; df -k / | cut -c 20-32"],
        ]);
        assert.equal(code, 0, stderr);
        assert.match(stdout, /^from a disk\n/);
        sizes.push(Number(/(\d+)\s*$/.exec(stdout)?.[1]));
      }
      const [small = 0, large = 0] = sizes;
      assert.ok(small > 40_000 && small < 65_536, `${small} KiB`);
      assert.ok(large > 250_000 && large < 307_200, `${large} KiB`);
      assert.deepEqual(before, await Deno.readFile(raw));

      const tooSmall = await hutch(home, [
        "run",
        "--rm",
        ...RUN,
        "--disk",
        "8m",
        `disk:${raw}`,
        "sh",
      ]);
      assert.equal(tooSmall.code, 125);
      assert.match(tooSmall.stderr, /Cannot make a disk of 8 MiB: its image needs 24 MiB/);
      const layered = ["run", "--rm", ...RUN, "--disk", "1m", "builtin:busybox", "true"];
      const less = await hutch(home, layered);
      assert.equal(less.code, 125);
      assert.match(less.stderr, /Cannot make a disk of 1 MiB: its image needs \d+ MiB/);
    }),
);

Deno.test(`a box that writes a qcow2 header over its disk's start boots from it as before ${on}`, {
  ignore,
}, () =>
  withRuntime(async (runtime) => {
    await using folder = new TempFolder();
    const raw = await makeDisk(folder.path);
    const trap = join(folder.path, "trap.qcow2");
    await runTool("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", trap);
    const header = (await Deno.readFile(trap)).slice(0, 1024);
    await using box = await runtime.create({
      ...BOX,
      name: "disk",
      image: `disk:${raw}?format=raw`,
    });
    const write = "mknod /disk b $(tr : ' ' < /sys/block/vdb/dev) && " +
      "dd of=/disk bs=1024 count=1 conv=notrunc && sync && echo written > /word";
    const wrote = await box.exec("sh", ["-c", write], { stdin: header });
    assert.ok(wrote.success, wrote.stderr);
    for (let start = 0; start < 2; start++) {
      await box.stop();
      const { stdout, stderr } = await box.exec("sh", [
        "-c",
        "cat /word; dd if=/disk bs=4 count=1",
      ]);
      assert.match(stdout, /^written\nQFI/, stderr);
    }
  }));

for (const type of ["xfs", "btrfs"] as const) {
  const name =
    `a box boots from a disk with ${type}, and grows it, on ${TEST_ENGINE}${OTHERS.note}`;
  testOnce(name, OTHERS.ignore, () =>
    withRuntime(async (runtime) => {
      await using folder = new TempFolder();
      const image = await makeOther(type, folder.path);
      await using box = await runtime.create({
        ...BOX,
        name: "other",
        image: `disk:${image}`,
        memory: 256,
        disk: "1g",
      });
      for (const said of ["", "first\n"]) {
        const { stdout, stderr } = await box.exec("/bin/busybox", [
          ...["sh", "-c", "busybox cat /new; echo first > /new; busybox df -m /"],
        ]);
        const [, read, mebibytes] = /^([^]*?)Filesystem.*\n\S+ +(\d+)/.exec(stdout) ?? [];
        assert.equal(read, said, stderr);
        assert.ok(Number(mebibytes) > 900 && Number(mebibytes) <= 1024, stdout);
        await box.stop();
      }
    }));
}

/** A raw disk of 320 MiB with busybox alone. */
async function makeOther(type: "xfs" | "btrfs", folder: string): Promise<string> {
  const path = join(folder, "other");
  if (type === "xfs") {
    const files = ["d--755 0 0", "bin d--755 0 0", `busybox ---755 0 0 ${BUSYBOX}`];
    const proto = ["/dev/null", "0 0", ...files, "sh l--777 0 0 busybox", "$", "$", ""];
    await Deno.writeTextFile(join(folder, "proto"), proto.join("\n"));
    // deno-fmt-ignore
    await runTool("mkfs.xfs", "-q", "-p", join(folder, "proto"), "-d", `file,name=${path},size=320m`);
    return path;
  }
  await makeDisk(folder); // for its folder
  await Deno.writeFile(path, new Uint8Array());
  await Deno.truncate(path, 320 << 20);
  await runTool("mkfs.btrfs", "-q", "--rootdir", join(folder, "root"), path);
  return path;
}

testOnce(
  `a box's own disk takes at most 256 KiB at first, whatever its image has ${on}`,
  ignore,
  async () => {
    const taken: number[] = [];
    const measure = {
      name: "measure",
      stages: {
        disk: {
          async after({ path }: { readonly path: string }): Promise<void> {
            taken.push(((await Deno.stat(path)).blocks ?? 0) * 512);
            throw new Error("measured"); // nothing needs to boot
          },
        },
      },
    };
    await withRuntime(async (runtime) => {
      await using folder = new TempFolder();
      const large = await toQcow2(await makeDisk(folder.path), join(folder.path, "disk.qcow2"));
      await runTool("qemu-img", "resize", "-q", large, "1T");
      for (const image of [`disk:${large}`, BOX.image]) {
        await using box = await runtime.create({ ...BOX, image });
        await assert.rejects(box.start(), /measured/);
        const { diskMiB } = box.config;
        assert.equal(diskMiB, image === BOX.image ? 10 * 1024 : 2 ** 20);
      }
      assert.equal(taken.length, 2);
      for (const bytes of taken) assert.ok(bytes > 0 && bytes <= 256 * 1024, `${bytes} bytes`);
    }, { plugins: [measure] });
  },
);

Deno.test(`a box's first command has room, and later ones the whole of its disk ${on}`, {
  ignore,
}, () =>
  withRuntime(async (runtime) => {
    for (const mebibytes of [64, 3 * 1024]) {
      await using box = await runtime.create({ ...BOX, name: `d${mebibytes}`, disk: mebibytes });
      const script = "df -k / && dd if=/dev/zero of=/file bs=1M count=40 && sync && rm /file";
      const first = await box.exec("sh", ["-c", script]);
      // Tables and the journal aren't counted.
      const sizeOf = ({ stdout }: { readonly stdout: string }) =>
        Number(/ (\d+) +\d+ +\d+ +\d+% /.exec(stdout)?.[1]) / 1024;
      assert.equal(first.code, 0, first.stderr);
      const ahead = await box.exec("cat", ["/sys/block/vdb/queue/read_ahead_kb"]);
      assert.equal(ahead.stdout, "512\n");
      assert.ok(sizeOf(first) > Math.min(mebibytes * 0.95 - 16, 1024), first.stdout);
      let size = 0;
      await until(
        async () => (size = sizeOf(await box.exec("df", ["-k", "/"]))) > mebibytes * 0.95 - 16,
        () => Promise.resolve(`it has ${size} of ${mebibytes} MiB`),
      );
      assert.ok(size <= mebibytes, `it has ${size} of ${mebibytes} MiB`);
      const disk = join(runtime.home, "boxes", (await box.info()).id, "disk.qcow2");
      await box.stop();
      await using folder = new TempFolder();
      await runTool("qemu-img", "check", "-q", disk);
      await runTool("qemu-img", "convert", "-O", "raw", disk, join(folder.path, "flat"));
      await runTool("e2fsck", "-fn", join(folder.path, "flat"));
    }
  }));
