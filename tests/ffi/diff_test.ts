/** Layers out of disks: what is in them, by others' tools, and disks that lie. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildTarget } from "../../ffi/build.ts";
import { DiskDiff } from "../../ffi/helper.ts";
import { makeExt4 } from "../support/disks.ts";
import {
  type Extent,
  FIRST_FREE,
  HandMadeExt4,
  JOURNAL_INODE,
  LOG_COMMIT,
  LOG_DESCRIPTOR,
  LOG_REVOKE,
  LOG_SUPER,
  logBlock,
  ROOT_INODE,
} from "../support/ext4_by_hand.ts";
import { MEMORY, TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import "../support/native.ts";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { ignore, note } = needs("mke2fs", "debugfs", "e2fsck", "tar");
const ROUNDS = Number(Deno.env.get("FUZZ_ROUNDS") ?? 400);
const SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/** A small disk with something of everything. */
async function makeBase(folder: string): Promise<string> {
  const root = join(folder, "root");
  await Deno.mkdir(join(root, "d/e"), { recursive: true });
  await Deno.mkdir(join(root, "gone"));
  for (let index = 0; index < 200; index++) {
    await Deno.writeTextFile(join(root, "d", `${"n".repeat(index)}${index}`), `${index}`);
  }
  await Deno.writeTextFile(join(root, "f"), "content");
  await Deno.writeTextFile(join(root, "gone/x"), "x");
  await Deno.writeFile(join(root, "large"), new Uint8Array(300_000).fill(7));
  await Deno.symlink("t".repeat(100), join(root, "far"));
  await Deno.link(join(root, "f"), join(root, "d/f"));
  return await makeExt4(join(folder, "base"), root, { mebibytes: 8 });
}

/** A copy of a disk that debugfs has done something to. */
async function changed(
  folder: string,
  disk: string,
  ...commands: readonly string[]
): Promise<string> {
  const path = join(folder, `disk-${crypto.randomUUID()}`);
  const script = `${path}.commands`;
  await Deno.copyFile(disk, path);
  await Deno.writeTextFile(script, `${commands.join("\n")}\n`);
  await runTool("debugfs", "-w", "-f", script, path);
  return path;
}

/** A disk with a file and a journal in many pieces, in no order. */
function makeOdd(path: string): string {
  using disk = new HandMadeExt4(path, { blocks: 256, journal: true });
  const pieces = (count: number, first: number): readonly Extent[] =>
    Array.from({ length: count }, (_, number) => [number, 1, first + number * 7 % count]);
  disk.folder(ROOT_INODE, FIRST_FREE, []);
  disk.inode(11, { extents: pieces(20, 110) });
  disk.inode(JOURNAL_INODE, { mode: 0o100600, extents: pieces(50, 150) });
  const place = (number: number) => 150 + number * 7 % 50;
  disk.write(place(0), logBlock(LOG_SUPER, 0, 4096, 50, 1, 1, 1, 0, 0, 1));
  disk.write(place(1), logBlock(LOG_DESCRIPTOR, 1, FIRST_FREE, 2, 110, 2 | 8));
  disk.write(place(2), disk.names([["file", 11], ["again", 11]]));
  disk.write(place(4), logBlock(LOG_REVOKE, 1, 20, 110));
  disk.write(place(5), logBlock(LOG_COMMIT, 1));
  return path;
}

async function layerOf(
  disk: string,
  base: string,
  { whole = false }: { readonly whole?: boolean } = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const files = [disk, base].map((path) => ({ path, format: "raw" }) as const);
  const { signal } = new AbortController();
  using diff = await DiskDiff.open(files, { signal, whole });
  return new Uint8Array(await new Blob(await Array.fromAsync(diff.bytes())).arrayBuffer());
}

async function namesIn(tar: Uint8Array<ArrayBuffer>, folder: string): Promise<string[]> {
  const path = join(folder, `tar-${crypto.randomUUID()}`);
  await Deno.writeFile(path, tar);
  return (await runTool("tar", "-tf", path)).trim().split("\n").filter((line) => line !== "");
}

Deno.test(
  `DiskDiff's layer has what changed, and marks for what is gone${note}`,
  { ignore },
  async () => {
    await using folder = new TempFolder();
    const base = await makeBase(folder.path);
    assert.deepEqual(await namesIn(await layerOf(base, base), folder.path), []);
    const value = join(folder.path, "value");
    await Deno.writeFile(value, new Uint8Array(900).fill(65));
    const acl = join(folder.path, "acl");
    await Deno.writeFile(
      acl,
      new Uint8Array([
        ...[2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 232, 3, 0, 0, 4, 0, 5, 0],
        ...[255, 255, 255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255],
      ]),
    );
    const disk = await changed(
      folder.path,
      base,
      "rm gone/x",
      "rmdir gone",
      "rm far",
      "mkdir new",
      "sif /large mode 0100755",
      "ea_set /d/e user.word hello",
      `ea_set -f ${value} /d/e trusted.long`,
      `ea_set -f ${acl} /d/e system.posix_acl_access`,
      "cd /new",
      "mknod pipe p",
      "symlink link target",
    );
    const layer = await layerOf(disk, base);
    assert.deepEqual((await namesIn(layer, folder.path)).sort(), [
      ".wh.far",
      ".wh.gone",
      "d/",
      "d/e/",
      "large",
      "new/",
      "new/link",
      "new/pipe",
    ]);
    const text = new TextDecoder("latin1").decode(layer);
    assert.match(text, /SCHILY\.xattr\.user\.word=hello\n/);
    assert.ok(text.includes(`SCHILY.xattr.trusted.long=${"A".repeat(900)}\n`));
    const list = new TextDecoder("latin1").decode(await Deno.readFile(acl));
    assert.ok(text.includes(`SCHILY.xattr.system.posix_acl_access=${list}\n`));
  },
);

Deno.test(`DiskDiff takes all names of a file that changed, and a folder made anew whole${note}`, {
  ignore,
}, async () => {
  await using folder = new TempFolder();
  const base = await makeBase(folder.path);
  const disk = await changed(
    folder.path,
    base,
    "sif /f mode 0100600",
    "sif /gone generation 77",
  );
  const layer = await layerOf(disk, base);
  const names = await namesIn(layer, folder.path);
  assert.deepEqual(names, ["d/", "d/f", "f", "gone/", "gone/.wh..wh..opq", "gone/x"]);
  const whole = await namesIn(await layerOf(base, base, { whole: true }), folder.path);
  assert.equal(whole.length, 1 + 200 + 8);
});

Deno.test(`DiskDiff reads what the journal hasn't brought home${note}`, { ignore }, async () => {
  await using folder = new TempFolder();
  const base = await makeBase(folder.path);
  const later = await changed(folder.path, base, "mkdir new", "sif /f mode 0100600", "rm large");
  // The same blocks, but in the journal alone.
  const [before, after] = [await Deno.readFile(base), await Deno.readFile(later)];
  const size = Number(/Block size:\s+(\d+)/.exec(await runTool("dumpe2fs", "-h", base))?.[1]);
  const commands: string[] = ["jo"];
  for (let block = 0; block * size < before.length; block++) {
    const part = after.subarray(block * size, (block + 1) * size);
    if (before.subarray(block * size, (block + 1) * size).every((byte, at) => byte === part[at])) {
      continue;
    }
    const path = join(folder.path, `block-${block}`);
    await Deno.writeFile(path, part);
    commands.push(`jw -b ${block} ${path}`);
  }
  const stale = await changed(folder.path, base, ...commands, "jc");
  const bytes = await Deno.readFile(stale);
  const incompatible = new DataView(bytes.buffer).getUint32(1024 + 0x60, true);
  assert.equal(incompatible & 4, 4, "its journal is to be played");
  assert.ok(commands.length > 4);
  assert.deepEqual(await layerOf(stale, base), await layerOf(later, base));
  assert.deepEqual((await namesIn(await layerOf(stale, base), folder.path)).sort(), [
    ".wh.large",
    "d/",
    "d/f",
    "f",
    "new/",
  ]);
});

Deno.test(`DiskDiff says what it can't read${note}`, { ignore }, async () => {
  await using folder = new TempFolder();
  const base = await makeBase(folder.path);
  const empty = join(folder.path, "empty");
  await Deno.writeFile(empty, new Uint8Array(1 << 20));
  await assert.rejects(layerOf(empty, base), { code: "invalid_option", message: /isn't ext4/ });
  const odd = await changed(folder.path, base, "ssv feature_incompat 0xffffffff");
  await assert.rejects(layerOf(odd, base), { code: "invalid_option", message: /features/ });
  const marked = await changed(folder.path, base, "mkdir /.wh.x");
  await assert.rejects(layerOf(marked, base), { code: "invalid_image", message: /\.wh\./ });
  const stopped = AbortSignal.abort();
  await assert.rejects(DiskDiff.open([{ path: base, format: "raw" }], { signal: stopped }), {
    code: "cancelled",
  });
});

Deno.test(`hutch_diff_open and its kin bear any disk${note}`, { ignore }, async () => {
  await using folder = new TempFolder(MEMORY);
  const output = join(ROOT, "build", "fuzz-diff");
  await buildTarget({
    output,
    sources: [
      join(ROOT, "ffi", "helper"),
      join(ROOT, "ffi", "copy"),
      join(ROOT, "tests", "ffi", "diff_fuzz"),
    ],
    headers: [join(ROOT, "ffi"), join(ROOT, "ffi", "helper")],
    flags: ["-std=gnu11", "-Wall", "-Wextra", "-Werror", ...SANITIZED],
    libraries: ["-lext2fs", "-lcom_err", "-larchive", "-lzstd", "-ldl"],
  });
  const base = await makeBase(folder.path);
  const disks = [
    await changed(folder.path, base, "mkdir new", "rm far", "ea_set /f user.a b"),
    await changed(
      folder.path,
      base,
      "jo",
      `jw -b 40,41,42 ${join(folder.path, "root/large")}`,
      "jc",
    ),
  ];
  const odd = makeOdd(join(folder.path, "odd"));
  for (const args of [[base, ...disks], [odd, odd]]) {
    const { code, stdout, stderr } = await new Deno.Command(output, {
      args: [`${ROUNDS}`, ...args],
      env: { ASAN_OPTIONS: "detect_leaks=1" },
    }).output();
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert.equal(code, 0, said);
    assert.match(said, /^\d+ read, [1-9]\d* refused\n$/);
  }
});
