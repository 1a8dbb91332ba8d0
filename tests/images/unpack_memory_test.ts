import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { tarEntry } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import type { Cost } from "./unpack_process.ts";

/** The size is for a soak: `UNPACK_GIB=5 deno test …`. */
const LARGE_GIB = Number(Deno.env.get("UNPACK_GIB") ?? 0.5);
/** Enough to have every buffer and heap at its size: the first 64 MiB add 45. */
const SMALL_GIB = LARGE_GIB / 4;
const LIMIT_MIB = 256;
/** What may differ between an image and one of four times its size. */
const GROWTH_MIB = 48;

const FILE = 16 * 1024 * 1024;
const PROGRAM = fileURLToPath(new URL("unpack_process.ts", import.meta.url));
const LAYER = "application/vnd.oci.image.layer.v1.tar";

const packers = { gzip: gzipSync, zstd: zstdCompressSync };

/** Writes a layer of large files and empty ones; returns its diff ID. */
async function writeLayer(path: string, gib: number, kind: keyof typeof packers): Promise<string> {
  const pack = packers[kind];
  const data = new Uint8Array(FILE).map((_, index) => index >> 7);
  const packed = pack(data);
  const hash = createHash("sha256");
  using file = await Deno.open(path, { write: true, createNew: true });
  const add = async (plain: Uint8Array, bytes: Uint8Array) => {
    hash.update(plain);
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
  };
  for (let index = 0; index < gib * 2 ** 30 / FILE; index++) {
    const empty = Array.from({ length: 100 }, (_, at) => tarEntry({ path: `d${index}/${at}` }));
    const headers = new Uint8Array(
      await new Blob([
        ...empty,
        tarEntry({ path: `d${index}/large`, size: FILE }),
      ]).arrayBuffer(),
    );
    await add(headers, pack(headers)); // members and frames in a row are one stream
    await add(data, packed);
  }
  return `sha256:${hash.digest("hex")}`;
}

async function costOf(gib: number, kind: keyof typeof packers): Promise<Cost> {
  await using folder = new TempFolder();
  const [blob, output] = [join(folder.path, "blob"), join(folder.path, "disk")];
  const diffId = await writeLayer(blob, gib, kind);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", PROGRAM, blob, `${LAYER}+${kind}`, diffId, output],
    stdin: "null",
  }).output();
  const text = new TextDecoder();
  assert.ok(success, text.decode(stderr));
  return JSON.parse(text.decode(stdout));
}

for (const kind of ["gzip", "zstd"] as const) {
  Deno.test(`buildBaseDisk of ${kind} layers takes memory for no more than a part, and hardly any of the main thread`, async () => {
    const small = await costOf(SMALL_GIB, kind);
    const large = await costOf(LARGE_GIB, kind);
    const before = small.memoryKiB / 1024;
    const after = large.memoryKiB / 1024;
    assert.ok(after <= LIMIT_MIB, `${after} MiB`);
    assert.ok(after - before <= GROWTH_MIB, `from ${before} to ${after} MiB`);
    // Whoever waits for the disk goes on with other things meanwhile.
    const { mainTicks, allTicks } = large;
    assert.ok(allTicks > 20 && mainTicks * 10 < allTicks, `${mainTicks} of ${allTicks} ticks`);
  });
}
