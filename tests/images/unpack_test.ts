import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { HutchError } from "../../src/errors.ts";
import { buildBaseDisk, type UnpackRequest } from "../../src/images/base_disk/unpack.ts";
import { checkExt4, readExt4 } from "../support/ext4.ts";
import { summaries } from "../support/layers.ts";
import { concat, writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const OCI = "application/vnd.oci.image.layer.v1.tar";
const DOCKER = "application/vnd.docker.image.rootfs.diff.tar";
/** Empty frames that decoders step over, as zstd's tools write them. */
const SKIPPABLE = new Uint8Array([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]);

type Bytes = Uint8Array<ArrayBuffer>;

interface Layer {
  readonly mediaType: string;
  readonly blob: Bytes;
  readonly plain: Bytes;
}

function layer(mediaType: string, plain: Bytes, blob: Uint8Array = plain): Layer {
  return { mediaType, plain, blob: new Uint8Array(blob) };
}

function identity(plain: Bytes): Bytes {
  return plain;
}

function diffId(plain: Bytes): string {
  return `sha256:${createHash("sha256").update(plain).digest("hex")}`;
}

async function build(
  folder: TempFolder,
  layers: readonly Layer[],
  more: Partial<UnpackRequest> = {},
): Promise<string> {
  const output = join(folder.path, "disk");
  const files: { path: string; mediaType: string; diffId: string }[] = [];
  for (const [index, { mediaType, blob, plain }] of layers.entries()) {
    const path = join(folder.path, `blob${index}`);
    await Deno.writeFile(path, blob);
    files.push({ path, mediaType, diffId: diffId(plain) });
  }
  const signal = new AbortController().signal;
  await buildBaseDisk({ layers: files, uuidFrom: "sha256:1", output, signal, ...more });
  return output;
}

async function refused(
  layers: readonly Layer[],
  code: string,
  message: RegExp,
  more: Partial<UnpackRequest> = {},
): Promise<void> {
  await using folder = new TempFolder();
  await assert.rejects(build(folder, layers, more), (error) => {
    assert.ok(error instanceof HutchError, `${error}`);
    assert.match(error.message, message);
    assert.equal(error.code, code);
    return true;
  });
  const left = [...Deno.readDirSync(folder.path)].map((entry) => entry.name);
  assert.deepEqual(left.filter((name) => !name.startsWith("blob")), []);
}

const tar = writeTar({ path: "f", data: "content" }, { path: "big", data: "x".repeat(100_000) });
const half = tar.subarray(0, 5000);
const rest = tar.subarray(5000);

const compressions: readonly (readonly [string, string, Uint8Array])[] = [
  ["plain OCI", OCI, tar],
  ["gzip OCI", `${OCI}+gzip`, gzipSync(tar)],
  ["zstd OCI", `${OCI}+zstd`, zstdCompressSync(tar)],
  ["plain Docker", DOCKER, tar],
  ["gzip Docker", `${DOCKER}.gzip`, gzipSync(tar)],
  ["multi-member gzip", `${OCI}+gzip`, concat([gzipSync(half), gzipSync(rest)])],
  ["multi-frame zstd", `${OCI}+zstd`, concat([zstdCompressSync(half), zstdCompressSync(rest)])],
  [
    "zstd with skippable frames",
    `${OCI}+zstd`,
    concat([SKIPPABLE, zstdCompressSync(half), SKIPPABLE, zstdCompressSync(rest), SKIPPABLE]),
  ],
];

for (const [name, mediaType, blob] of compressions) {
  Deno.test(`buildBaseDisk unpacks a ${name} layer`, async () => {
    await using folder = new TempFolder();
    const top = writeTar({ path: ".wh.big" }, { path: "g", data: "top" });
    const disk = await build(folder, [layer(mediaType, tar, blob), layer(OCI, top)]);
    await checkExt4(disk);
    assert.deepEqual(summaries(await readExt4(disk)), {
      "f": 'f 644 0:0 "content"',
      "g": 'f 644 0:0 "top"',
    });
  });
}

Deno.test("buildBaseDisk makes a disk of no layers", async () => {
  await using folder = new TempFolder();
  const disk = await build(folder, []);
  await checkExt4(disk);
  assert.deepEqual(summaries(await readExt4(disk)), {});
});

Deno.test("buildBaseDisk gives the same bytes again", async () => {
  await using one = new TempFolder();
  await using two = new TempFolder();
  const layers = [layer(`${OCI}+gzip`, tar, gzipSync(tar)), layer(OCI, writeTar({ path: "g" }))];
  const [a, b] = [await build(one, layers), await build(two, layers)];
  assert.deepEqual(await Deno.readFile(a), await Deno.readFile(b));
});

for (
  const [name, pack] of [["", identity], ["+gzip", gzipSync], ["+zstd", zstdCompressSync]] as const
) {
  Deno.test(`buildBaseDisk tells how far it is in a layer${name && ` of ${name.slice(1)}`}`, async () => {
    await using folder = new TempFolder();
    const data = new Uint8Array(12 * 1024 * 1024);
    for (let at = 0; at < data.length; at += 65536) {
      crypto.getRandomValues(data.subarray(at, at + 65536));
    }
    const plain = writeTar({ path: "f", data });
    const blob = pack(plain);
    const seen: number[] = [];
    await build(folder, [layer(`${OCI}${name}`, plain, blob)], {
      onProgress: (bytes) => seen.push(bytes),
    });
    assert.ok(seen.length >= 2);
    assert.ok(seen.every((bytes, at) => bytes <= blob.length && bytes > (seen[at - 1] ?? 0)));
  });
}

Deno.test("buildBaseDisk gives the same bytes in another process", async () => {
  await using folder = new TempFolder();
  const many = Array.from({ length: 400 }, (_, index) => ({
    path: `d/a-longer-name-to-fill-blocks-${index}`,
    data: `${index}`.repeat(index),
    pax: { "SCHILY.xattr.user.n": "v".repeat(index) },
  }));
  const plain = writeTar(...many, ...many.slice(100, 200));
  const here = await build(folder, [layer(`${OCI}+gzip`, plain, gzipSync(plain))]);
  const there = join(folder.path, "there");
  const program = fileURLToPath(new URL("unpack_process.ts", import.meta.url));
  const blob = join(folder.path, "blob0");
  await runTool(
    ...[Deno.execPath(), "run", "-A", "--quiet", program, blob] as const,
    ...[`${OCI}+gzip`, diffId(plain), there],
  );
  assert.equal(diffId(await Deno.readFile(there)), diffId(await Deno.readFile(here)));
});

Deno.test("buildBaseDisk refuses a layer with another diff ID", async () => {
  const wrong = { ...layer(`${OCI}+gzip`, tar, gzipSync(tar)), plain: half };
  await refused([wrong], "digest_mismatch", /content has digest sha256:/);
});

const broken: readonly (readonly [string, string, Uint8Array])[] = [
  ["cut gzip", `${OCI}+gzip`, gzipSync(tar).subarray(0, -20)],
  ["gzip cut in its trailer", `${OCI}+gzip`, gzipSync(tar).subarray(0, -4)],
  ["damaged gzip", `${OCI}+gzip`, gzipSync(tar).map((byte, at) => at === 30 ? byte ^ 255 : byte)],
  ["gzip of nothing", `${OCI}+gzip`, new Uint8Array()],
  ["plain tar called gzip", `${OCI}+gzip`, tar],
  ["cut zstd", `${OCI}+zstd`, zstdCompressSync(tar).subarray(0, -20)],
  ["plain tar called zstd", `${OCI}+zstd`, tar],
  ["gzip called plain tar", OCI, gzipSync(tar)],
  ["cut tar", OCI, half],
];

for (const [name, mediaType, blob] of broken) {
  Deno.test(`buildBaseDisk refuses ${name} and leaves nothing`, async () => {
    await refused([layer(mediaType, tar, blob)], "invalid_image", /^Cannot unpack layer sha256:/);
  });
}

Deno.test("buildBaseDisk refuses an unknown media type", async () => {
  await refused([layer("text/plain", tar)], "invalid_image", /media type "text\/plain" is unknown/);
});

Deno.test("buildBaseDisk refuses a decompression bomb early", async () => {
  const bomb = writeTar({ path: "f", data: new Uint8Array(64 * 1024 * 1024) });
  const blob = gzipSync(bomb);
  await refused([layer(`${OCI}+gzip`, bomb, blob)], "limit_exceeded", /over 1048576 bytes/, {
    limits: { maxBytes: 1024 * 1024 },
  });
});

Deno.test("buildBaseDisk leaves a file that has its output's name alone", async () => {
  await using folder = new TempFolder();
  await Deno.writeTextFile(join(folder.path, "disk"), "mine");
  await assert.rejects(build(folder, [layer(OCI, tar)]), /EEXIST/);
  assert.equal(await Deno.readTextFile(join(folder.path, "disk")), "mine");
});

Deno.test("buildBaseDisk stops when it is cancelled and leaves nothing", async () => {
  const large = layer(OCI, writeTar({ path: "f", data: new Uint8Array(64 * 1024 * 1024) }));
  const during = new AbortController();
  await refused([large, large], "cancelled", /cancelled/, {
    signal: during.signal,
    onProgress: () => during.abort(),
  });
  await refused([large], "cancelled", /cancelled/, { signal: AbortSignal.abort() });
});

const mount = needs("mount", "umount");
Deno.test({
  name: `buildBaseDisk says when the disk is full and leaves nothing${mount.note}`,
  ignore: mount.ignore,
  fn: async () => {
    await using folder = new TempFolder();
    const small = join(folder.path, "small");
    await Deno.mkdir(small);
    await runTool("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small);
    try {
      const large = layer(OCI, writeTar({ path: "f", data: new Uint8Array(8e6).fill(1) }));
      const output = join(small, "disk");
      await assert.rejects(
        build(folder, [large], { output }),
        (error) => error instanceof HutchError && error.code === "no_space",
      );
      assert.deepEqual([...Deno.readDirSync(small)], []);
    } finally {
      await runTool("umount", small);
    }
  },
});
