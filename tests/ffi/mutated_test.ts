import assert from "node:assert/strict";
import { join } from "node:path";
import { HutchError } from "../../src/errors.ts";
import { fc } from "../deps.ts";
import { checkExt4 } from "../support/ext4.ts";
import { onlyAllowed } from "../support/layer_model.ts";
import { writeImage } from "../support/layers.ts";
import { archive } from "../support/layer_writer.ts";
import { randomLayers } from "../support/random_layers.ts";
import { concat, latin1, tarEntry, writeTar } from "../support/tar.ts";
import { MEMORY, TempFolder } from "../support/temp.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** More, and other, runs than a gate has time for: `MODEL_RUNS=5000 MODEL_SEED=7 deno test …`. */
const RUNS = Number(Deno.env.get("MODEL_RUNS") ?? 60) * 5;
const SEED = Number(Deno.env.get("MODEL_SEED") ?? 1);
const BLOCK = 512;
const LIMITS = { maxBytes: 16 * 2 ** 20, maxEntries: 5000, maxMemory: 8 * 2 ** 20 };

/** Whether the layers made a disk, which then is whole; else they were refused in clear words. */
async function survives(layers: readonly Bytes[]): Promise<boolean> {
  await using folder = new TempFolder(MEMORY);
  const image = join(folder.path, "image");
  try {
    await writeImage(image, layers, { limits: LIMITS, pieceSize: 1000 });
  } catch (error) {
    assert.ok(error instanceof HutchError, `${error}`);
    assert.ok(["invalid_image", "limit_exceeded"].includes(error.code), error.code);
    // deno-lint-ignore no-control-regex
    assert.match(error.message, /^Cannot write image [^:]+: layer (entry "|\d+: )[^\x00-\x1f]+$/);
    return false;
  }
  await checkExt4(image);
  return true;
}

/** One change: a byte somewhere, in a header's field, a block put in another's place, a cut. */
const change = fc.record({
  kind: fc.constantFrom("byte", "bit", "size", "type", "block", "cut"),
  at: fc.nat(),
  from: fc.nat(),
  value: fc.constantFrom(..."\0\x01\x80\xff /.019:=\nxLKS"),
  mend: fc.boolean(),
});

function changed(
  tar: Bytes,
  changes: readonly (typeof change extends fc.Arbitrary<infer T> ? T : never)[],
): Bytes {
  let bytes = tar.slice();
  for (const { kind, at, from, value, mend } of changes) {
    if (bytes.length < BLOCK) break;
    const blocks = Math.floor(bytes.length / BLOCK);
    const block = bytes.subarray(at % blocks * BLOCK, (at % blocks + 1) * BLOCK);
    const code = value.charCodeAt(0);
    if (kind === "byte") block[from % BLOCK] = code;
    if (kind === "bit") block[from % BLOCK] = (block[from % BLOCK] ?? 0) ^ (1 << at % 8);
    if (kind === "size") block[124 + from % 12] = code;
    if (kind === "type") block[156] = "01234567LKxgSVDX".charCodeAt(from % 16);
    if (kind === "block") {
      block.set(bytes.slice(from % blocks * BLOCK, (from % blocks + 1) * BLOCK));
    }
    if (kind === "cut") bytes = bytes.slice(0, at % bytes.length);
    else if (mend) mendChecksum(block);
  }
  return bytes;
}

/** So that a changed header gets past the first check. */
function mendChecksum(block: Bytes): void {
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.set(latin1(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
}

Deno.test("Ext4Image.applyLayer makes a whole disk of changed layers or refuses them in clear words", async () => {
  let made = 0;
  const layers = randomLayers("abcd").map(onlyAllowed);
  const changes = fc.array(fc.array(change, { maxLength: 3 }), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(layers, changes, async (layers, changes) => {
      const tars = layers.map((layer, index) =>
        changed(archive(layer), changes[index % changes.length] ?? [])
      );
      if (await survives(tars)) made++;
    }),
    { numRuns: RUNS, seed: SEED },
  );
  assert.ok(made > RUNS / 20 && made < RUNS, `${made} of ${RUNS} were made`);
});

const KEYS = [
  ...["path", "linkpath", "size", "uid", "gid", "mtime", "atime", "comment", "", "a=b"],
  ...["map", "name", "size", "realsize", "major", "minor", "offset", "numbytes", "numblocks"]
    .map((key) => `GNU.sparse.${key}`),
  ...["user.a", "user.", "security.capability", "system.posix_acl_access", "trusted.b", "x"]
    .map((key) => `SCHILY.xattr.${key}`),
];
const text = fc.oneof(
  fc.constantFrom("", "0", "1", "512", "-1", "1.5", "18446744073709551615", "99999999999999999999"),
  fc.constantFrom("0,1", "0,512,1024,512", "1,0,0,1", ",", "0,", "a/b", "/", "..", ".wh.a", "\0"),
  fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 30 })
    .map((codes) => String.fromCharCode(...codes)),
);
/** A pax record; its length may lie. */
const record = fc.record({
  key: fc.constantFrom(...KEYS),
  value: text,
  lie: fc.constantFrom(0, 0, 0, 0, 0, 0, 1, -1, 99),
})
  .map(({ key, value, lie }) => {
    const rest = ` ${key}=${value}\n`;
    let length = rest.length + 1;
    while (`${length}${rest}`.length !== length) length++;
    return `${length + lie}${rest}`;
  });

Deno.test("Ext4Image.applyLayer makes a whole disk of random pax records or refuses them in clear words", async () => {
  let made = 0;
  const headers = fc.array(
    fc.tuple(fc.array(record, { maxLength: 4 }), fc.constantFrom(..."01235"), fc.nat(1500)),
    { minLength: 1, maxLength: 4 },
  );
  await fc.assert(
    fc.asyncProperty(headers, async (headers) => {
      const parts = headers.flatMap(([records, type, size], index) => [
        tarEntry({ path: "x", type: "x", data: records.join("") }),
        tarEntry({
          path: `f${index}`,
          type,
          link: "f0",
          ...(type === "0" ? { data: "x".repeat(size) } : {}),
        }),
      ]);
      if (await survives([concat([...parts, writeTar()])])) made++;
    }),
    { numRuns: RUNS, seed: SEED },
  );
  assert.ok(made > RUNS / 20 && made < RUNS, `${made} of ${RUNS} were made`);
});
