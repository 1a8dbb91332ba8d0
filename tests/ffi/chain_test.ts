/** Disks of several files, against QEMU's own tools; and files that lie. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildTarget } from "../../ffi/build.ts";
import { DiskChain, type DiskFile } from "../../ffi/helper.ts";
import { diskFiles } from "../../src/disk/chain.ts";
import { fc } from "../deps.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import "../support/native.ts";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { ignore, note } = needs("qemu-img", "qemu-io");
const ROUNDS = Number(Deno.env.get("FUZZ_ROUNDS") ?? 100);
const SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
const SIZE = 4 << 20;
const KIB = 1024;

/** What is done to a file of a chain, in KiB. */
interface Write {
  readonly at: number;
  readonly length: number;
  /** 0: zeros that hide what is below. */
  readonly byte: number;
}

async function makeChain(folder: string, layers: readonly (readonly Write[])[]): Promise<string> {
  let below = join(folder, "base");
  await Deno.writeFile(below, new Uint8Array(SIZE - 3 * 512).map((_, at) => at >> 12));
  for (const [index, writes] of layers.entries()) {
    const path = join(folder, `layer${index}`);
    const format = index === 0 ? "raw" : "qcow2";
    const clusters = ["64k", "4k", "512", "2M"][index % 4] ?? "64k";
    const options = ["-o", `cluster_size=${clusters}`, "-b", below, "-F", format];
    await runTool("qemu-img", "create", "-q", "-f", "qcow2", ...options, path, String(SIZE));
    const commands = writes.flatMap(({ at, length, byte }) => {
      const [from, size] = [at * KIB, Math.min(length * KIB, SIZE - at * KIB)];
      return ["-c", byte === 0 ? `write -z ${from} ${size}` : `write -P ${byte} ${from} ${size}`];
    });
    if (commands.length > 0) await runTool("qemu-io", "-f", "qcow2", ...commands, path);
    below = path;
  }
  return below;
}

async function wholeOf(files: readonly DiskFile[]): Promise<Uint8Array<ArrayBuffer>> {
  using disk = DiskChain.open(files);
  const bytes = new Uint8Array(disk.sizeBytes);
  await disk.read(0, bytes);
  return bytes;
}

Deno.test(
  `DiskChain reads what QEMU reads, through any number of files${note}`,
  { ignore },
  () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.array(
            fc.record({
              at: fc.integer({ min: 0, max: SIZE / KIB - 1 }),
              length: fc.integer({ min: 1, max: 300 }),
              byte: fc.integer({ min: 0, max: 5 }),
            }),
            { maxLength: 6 },
          ),
          { minLength: 1, maxLength: 5 },
        ),
        async (layers) => {
          await using folder = new TempFolder();
          const top = await makeChain(folder.path, layers);
          const files = await diskFiles(top, [folder.path]);
          assert.equal(files.length, layers.length + 1);
          const raw = join(folder.path, "raw");
          await runTool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", top, raw);
          const expected = await Deno.readFile(raw);
          assert.deepEqual(await wholeOf(files), expected);
          // What the upper files say of themselves is all that the lowest one doesn't.
          using disk = DiskChain.open(files);
          const below = new Uint8Array(SIZE);
          below.set(await Deno.readFile(join(folder.path, "base")));
          for (const { start, length, zeros } of disk.runs()) {
            const part = expected.subarray(start, start + length);
            if (zeros) assert.ok(part.every((byte) => byte === 0));
            below.set(part, start);
          }
          assert.deepEqual(below, expected);
        },
      ),
      { numRuns: 12 },
    ),
);

Deno.test(
  `diskFiles follows a disk to no other files than a home's disks${note}`,
  { ignore },
  async () => {
    await using folder = new TempFolder();
    await using other = new TempFolder();
    const top = await makeChain(folder.path, [[], []]);
    await assert.rejects(diskFiles(top, [other.path]), { code: "state_corrupt" });
    await Deno.remove(join(folder.path, "base"));
    await assert.rejects(diskFiles(top, [folder.path]), { message: /isn't there/ });
    await Deno.symlink("/etc/passwd", join(folder.path, "base"));
    await assert.rejects(diskFiles(top, [folder.path]), { message: /no disk of this home/ });
    await Deno.writeFile(top, new Uint8Array(4096));
    await assert.rejects(diskFiles(top, [folder.path]), { message: /isn't a qcow2 disk/ });
  },
);

Deno.test(`hutch_chain_open and its kin bear any file${note}`, { ignore }, async () => {
  await using folder = new TempFolder();
  const driver = join(folder.path, "driver");
  const helper = join(ROOT, "ffi/helper");
  const work = join(folder.path, "sources");
  await Deno.mkdir(work);
  for (const name of ["chain.c", "qcow2.c"]) {
    await Deno.copyFile(join(helper, name), join(work, name));
  }
  await Deno.copyFile(join(ROOT, "tests/ffi/chain_fuzz/driver.c"), join(work, "driver.c"));
  await buildTarget({
    output: driver,
    sources: [work],
    headers: [helper],
    flags: ["-std=c11", "-Wall", "-Wextra", "-Werror", ...SANITIZED],
    libraries: [],
  });
  const writes = [{ at: 0, length: 200, byte: 1 }, { at: 3000, length: 100, byte: 0 }];
  const top = await makeChain(folder.path, [writes, writes]);
  const good = await Deno.readFile(top);
  const bad = join(folder.path, "bad");
  const run = async () => {
    const { code, stdout, stderr } = await new Deno.Command(driver, {
      args: ["2", `q${bad}`, `q${join(folder.path, "layer0")}`, `r${join(folder.path, "base")}`],
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout);
  };
  await Deno.writeFile(bad, good);
  assert.match(await run(), /^\d+ runs, [0-9a-f]+ \n$/);
  const change = fc.record({
    // Its header, or its tables.
    at: fc.oneof(fc.nat(112), fc.nat(good.length - 1)),
    byte: fc.oneof(fc.constant(255), fc.nat(255)),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { minLength: 1, maxLength: 8 }),
      fc.boolean(),
      async (changes, cut) => {
        const bytes = good.slice();
        for (const { at, byte } of changes) bytes[at] = byte;
        await Deno.writeFile(bad, cut ? bytes.subarray(0, changes[0]?.at) : bytes);
        await run();
      },
    ),
    { numRuns: ROUNDS },
  );
});
