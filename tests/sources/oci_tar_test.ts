import assert from "node:assert/strict";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { ociSource } from "../../plugins/sources/oci.ts";
import { HutchError } from "../../src/errors.ts";
import { digestOf } from "../../src/images/digest.ts";
import { parsePlatform } from "../../src/images/platform.ts";
import { parseManifest } from "../../src/images/manifest.ts";
import type { ImageSource, SourceImage } from "../../src/images/source.ts";
import { savedByDocker, savedByOldDocker } from "../support/docker_archive.ts";
import { memoryImage, someBytes } from "../support/fake_registry.ts";
import { IMAGE_TOOLS, makeLayeredImage } from "../support/images.ts";
import { tagged, TempLayout } from "../support/layout.ts";
import { PODMAN_TOOLS, TempPodman } from "../support/podman.ts";
import { concat, latin1, type TarFields, writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import "../support/native.ts";
import { needs, runTool } from "../support/tools.ts";

const LAYER = someBytes(700_000);
const IMAGE = memoryImage([LAYER]);
const OTHER = memoryImage([someBytes(10, 2)]);
const FOREVER = new AbortController().signal;

function source(): ImageSource {
  const found = ociSource().sources?.["oci"];
  assert.ok(found);
  return found;
}

function open(reference: string, signal: AbortSignal = FOREVER): Promise<SourceImage> {
  return source().open({
    reference,
    platform: parsePlatform("linux/amd64"),
    credentials: () => Promise.resolve(undefined),
    signal,
  });
}

/** Opens an archive of these bytes, and reads the layer. */
async function openBytes(bytes: Uint8Array): Promise<string> {
  await using folder = new TempFolder();
  const path = join(folder.path, "image.tar");
  await Deno.writeFile(path, bytes);
  await using image = await open(path);
  const { body } = await image.blob(digestOf(LAYER), { offset: 0, signal: FOREVER });
  assert.equal(digestOf(await new Response(body).bytes()), digestOf(LAYER));
  return image.digest;
}

async function entries(): Promise<readonly TarFields[]> {
  await using layout = new TempLayout();
  layout.index(tagged(layout.add(IMAGE), "v1"));
  return layout.entries();
}

function without(all: readonly TarFields[], path: string): readonly TarFields[] {
  return all.filter((entry) => entry.path !== path);
}

function named(all: readonly TarFields[], path: string): TarFields {
  const found = all.find((entry) => entry.path === path);
  assert.ok(found, path);
  return found;
}

const LAYER_PATH = `blobs/sha256/${digestOf(LAYER).slice(7)}`;

Deno.test("ociSource reads archives however their names are written", async () => {
  const all = await entries();
  const variants: Record<string, Uint8Array> = {
    plain: writeTar(...all),
    dotted: writeTar(...all.map((entry) => ({ ...entry, path: `./${entry.path}` }))),
    pax: writeTar(...all.map((entry) => ({ ...entry, path: "x", pax: { path: entry.path } }))),
    gnu: writeTar(...all.map((entry) => ({ ...entry, path: "x", gnuPath: entry.path }))),
    "with global headers": writeTar(
      { path: "pax_global_header", type: "g", data: "16 comment=hello\n" },
      { path: "pax_global_header", type: "g", data: "16 comment=hello\n" },
      ...all,
    ),
    // GNU's headers have times where those of ustar have the beginning of a path.
    "with GNU's times": writeTar(
      ...all.map((entry) => ({ ...entry, raw: { 257: "ustar  \0", 345: "13371337133\0" } })),
    ),
    "with sizes in pax": writeTar(
      ...all.map((entry) => ({
        ...entry,
        pax: { size: String(entry.data?.length ?? 0) },
        size: 0,
      })),
    ),
    "without an end": writeTar(...all).slice(0, -1024),
    "with more after its end": concat([writeTar(...all), latin1("x".repeat(700))]),
    gzip: gzipSync(writeTar(...all)),
    zstd: zstdCompressSync(writeTar(...all)),
  };
  for (const [name, bytes] of Object.entries(variants)) {
    assert.equal(await openBytes(bytes), IMAGE.digest, name);
  }
});

Deno.test("ociSource follows links within an archive", async () => {
  const all = await entries();
  const real = { ...named(all, LAYER_PATH), path: "kept/layer" };
  for (
    const links of [
      [{ path: LAYER_PATH, type: "1", link: "kept/layer" }],
      [{ path: LAYER_PATH, type: "2", link: "../../kept/layer", size: 7 }], // which has none
      [{ path: LAYER_PATH, type: "2", link: "a" }, {
        path: "blobs/sha256/a",
        type: "1",
        link: "./kept//layer",
      }],
    ]
  ) {
    assert.equal(
      await openBytes(writeTar(...without(all, LAYER_PATH), ...links, real)),
      IMAGE.digest,
    );
  }
});

Deno.test("ociSource chooses in an archive by tag and digest, and lists what it holds", async () => {
  await using layout = new TempLayout();
  await using folder = new TempFolder();
  layout.index(
    tagged(layout.add(IMAGE), "v1"),
    {
      ...layout.add(OTHER),
      annotations: {
        "org.opencontainers.image.ref.name": "v2",
        "io.containerd.image.name": "docker.io/library/other:v2",
      },
    },
  );
  const path = join(folder.path, "image.tar");
  await Deno.writeFile(path, writeTar(...layout.entries()));
  for (
    const [tail, digest] of [
      [":v1", IMAGE.digest],
      [":v2", OTHER.digest],
      [`@${OTHER.digest}`, OTHER.digest],
    ]
  ) {
    await using image = await open(`${path}${tail}`);
    assert.equal(image.digest, digest);
  }
  await assert.rejects(open(path), { code: "image_not_found", hint: 'add a tag: "v1", "v2"' });
  for (const place of [path, layout.path]) {
    assert.deepEqual(await source().contents?.(place, FOREVER), [
      { reference: `${place}:v1`, names: ["v1"] },
      { reference: `${place}:v2`, names: ["docker.io/library/other:v2"] },
    ]);
  }
  layout.index(layout.add(IMAGE));
  assert.deepEqual(await source().contents?.(layout.path, FOREVER), [
    { reference: `${layout.path}@${IMAGE.digest}`, names: [] },
  ]);
});

Deno.test("ociSource has nothing to list in files of another kind", async () => {
  await using folder = new TempFolder();
  for (
    const [name, bytes] of Object.entries({
      text: latin1("hello\n"),
      empty: new Uint8Array(),
      zeros: new Uint8Array(10_240),
      tar: writeTar({ path: "x", data: "x" }),
      "root file system": writeTar(
        { path: "./", type: "5" },
        { path: "./bin/sh", type: "2", link: "/bin/busybox" },
        { path: "./lib", type: "2", link: "../lib" },
        { path: "./dev/null", type: "3" },
      ),
      packed: gzipSync(latin1("hello\n")),
    })
  ) {
    const path = join(folder.path, name);
    await Deno.writeFile(path, bytes);
    assert.equal(await source().contents?.(path, FOREVER), undefined, name);
    await assert.rejects(open(path), (error) => {
      assert.ok(error instanceof HutchError);
      return error.code === "invalid_image" || error.code === "image_not_found";
    });
  }
});

Deno.test("ociSource opens the layout that Docker puts around what it saves", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "saved.tar");
  const saved = [{ image: IMAGE, tags: ["image:1"] }, { image: OTHER, tags: ["other:2"] }];
  await Deno.writeFile(path, writeTar(...savedByDocker(...saved)));
  await using image = await open(`${path}:2`);
  assert.equal(image.digest, OTHER.digest);
  assert.deepEqual(await source().contents?.(path, FOREVER), [
    { reference: `${path}:1`, names: ["docker.io/library/image:1"] },
    { reference: `${path}:2`, names: ["docker.io/library/other:2"] },
  ]);
});

Deno.test("ociSource points docker save's archives to their own source", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "saved.tar");
  await Deno.writeFile(path, writeTar({ path: "manifest.json", data: "[]" }));
  await assert.rejects(open(path), { code: "image_not_found", hint: /docker-archive:PATH/ });
});

Deno.test("ociSource refuses hostile archives", async () => {
  const all = await entries();
  const layer = named(all, LAYER_PATH);
  const rest = without(all, LAYER_PATH);
  const cases: readonly (readonly [readonly TarFields[], RegExp])[] = [
    [[...all, layer], /has "blobs.*" twice/],
    [[...all, { ...layer, path: `./${LAYER_PATH}` }], /twice/],
    [[...all, { path: "../x" }], /"\.\.\/x" leads out of it/],
    [[...all, { path: "/etc/passwd" }], /leads out of it/],
    [[...all, { path: "a/../../x" }], /leads out of it/],
    [[...rest, { path: LAYER_PATH, type: "2", link: "/etc/passwd" }], /leads out of it/],
    [[...rest, { path: LAYER_PATH, type: "2", link: "../../../x" }], /leads out of it/],
    [[...rest, { path: LAYER_PATH, type: "1", link: "../x" }], /leads out of it/],
    [[...rest, { path: LAYER_PATH, type: "2", link: "none" }], /link to .*none", which isn't/],
    [[...rest, { path: LAYER_PATH, type: "1", link: LAYER_PATH }], /through too many/],
    [
      [
        ...rest,
        ...Array.from({ length: 12 }, (_, at) => ({
          path: at === 0 ? LAYER_PATH : `l${at}`,
          type: "1",
          link: `l${at + 1}`,
        })),
        { path: "l12", data: LAYER },
      ],
      /through too many/,
    ],
    [
      [...without(all, "index.json"), { path: "index.json", data: " ".repeat(5e6) }],
      /its index\.json is larger than/,
    ],
    [[...rest, { path: LAYER_PATH, type: "3" }], /isn't a file/],
    [[...rest, { path: LAYER_PATH, type: "6" }], /isn't a file/],
    [rest, /isn't there/],
    [[...rest, { ...layer, size: 2 ** 33 }], /an entry that its end cuts off/],
    [[...rest, { ...layer, size: 2 ** 60 }], /a damaged size/],
    [[...rest, { ...layer, pax: { size: "9".repeat(15) } }], /its end cuts off/],
    [[...rest, { ...layer, pax: { size: "-1" } }], /a damaged size/],
    [[...rest, { ...layer, raw: { 124: "12345678901x" } }], /a damaged number/],
    [[...rest, { ...layer, raw: { 124: "\xff".repeat(12) } }], /a damaged size/],
    [[...rest, { ...layer, type: "S" }], /a sparse file/],
    [[...rest, { ...layer, pax: { "GNU.sparse.major": "1" } }], /a sparse file/],
    [[...rest, { ...layer, type: "M" }], /part of another archive/],
    [[...rest, { path: "x", type: "x", data: "99 path=x\n" }], /a damaged pax header/],
    [[...rest, { path: "x", type: "x", data: "path=x\n" }], /a damaged pax header/],
    [[...rest, { path: "x", type: "x", data: "9 path=xx" }], /a damaged pax header/],
    [[...rest, { path: "x", type: "L", data: "x".repeat(70_000) }], /an oversized header/],
    [[...rest, { path: "x", gnuPath: "x".repeat(5000) }], /a name of more than 4096/],
    [[...rest, { path: "" }], /an impossible name/],
    [[...rest, { path: "x", pax: { path: "a\0b" } }], /an impossible name/],
  ];
  for (const [fields, problem] of cases) {
    await assert.rejects(openBytes(writeTar(...fields)), (error) => {
      assert.ok(error instanceof HutchError, String(error));
      assert.equal(error.code, "invalid_image", error.message);
      assert.match(error.message, problem);
      return true;
    });
  }
});

Deno.test("ociSource refuses archives that were cut or changed anywhere", async () => {
  const whole = writeTar(...await entries());
  for (let length = 0; length < whole.length - 1024; length += 39_989) {
    await assert.rejects(openBytes(whole.slice(0, length)), HutchError, `${length} bytes`);
  }
  const gzip = gzipSync(whole);
  for (const length of [3, 100, gzip.length >> 1, gzip.length - 1]) {
    await assert.rejects(openBytes(gzip.slice(0, length)), HutchError, `${length} packed bytes`);
  }
  const changed = whole.slice();
  changed[3] = 0x41;
  await assert.rejects(openBytes(changed), { code: "invalid_image" });
});

Deno.test("ociSource names the compressions that it can read", async () => {
  const xz = latin1("\xfd7zXZ\0").slice();
  await assert.rejects(openBytes(xz), { code: "invalid_image", hint: /gzip and zstd/ });
});

Deno.test("ociSource doesn't wait for a named pipe, nor read a device", async () => {
  await using folder = new TempFolder();
  const pipe = join(folder.path, "pipe");
  await runTool("mkfifo", pipe);
  for (const path of [pipe, "/dev/zero"]) {
    await assert.rejects(open(path), { code: "image_not_found", message: /it isn't a file/ });
  }
});

Deno.test("ociSource unpacks a compressed archive where TMPDIR says, and leaves nothing", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "image.tar.gz");
  await Deno.writeFile(path, gzipSync(writeTar(...await entries())));
  const before = Deno.env.get("TMPDIR");
  const temporary = join(folder.path, "tmp");
  Deno.env.set("TMPDIR", temporary);
  try {
    await assert.rejects(open(path), { code: "no_space", hint: /TMPDIR/ });
    await Deno.mkdir(temporary);
    await using image = await open(path);
    assert.equal(image.digest, IMAGE.digest);
    assert.deepEqual([...Deno.readDirSync(temporary)], []);
  } finally {
    if (before === undefined) Deno.env.delete("TMPDIR");
    else Deno.env.set("TMPDIR", before);
  }
});

const tools = needs(...IMAGE_TOOLS, "tar");

Deno.test(`ociSource opens what skopeo and tar write${tools.note}`, {
  ignore: tools.ignore,
}, async () => {
  await using folder = new TempFolder();
  const layout = await makeLayeredImage(folder.path);
  const index = JSON.parse(await Deno.readTextFile(join(layout, "index.json")));
  const at = (name: string) => join(folder.path, name);
  // deno-fmt-ignore
  await runTool("skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests",
    `oci:${layout}:latest`, `oci-archive:${at("skopeo.tar")}:latest`);
  for (const format of ["gnu", "pax", "ustar", "v7"]) {
    await runTool("tar", "-C", layout, "-cf", at(`${format}.tar`), `--format=${format}`, ".");
  }
  await runTool("tar", "-C", layout, "-czf", at("tar.gz"), "index.json", "oci-layout", "blobs");
  for (const name of ["skopeo.tar", "gnu.tar", "pax.tar", "ustar.tar", "v7.tar", "tar.gz"]) {
    await using image = await open(`${at(name)}:latest`);
    assert.equal(image.digest, index.manifests[0].digest, name);
  }
});

const podman = needs(...PODMAN_TOOLS);

Deno.test(`ociSource opens what Podman writes${podman.note}`, {
  ignore: podman.ignore,
}, async () => {
  await using podman = new TempPodman();
  const image = memoryImage([writeTar({ path: "a", data: "a\n" })]);
  const given = join(podman.path, "given.tar");
  const entries = savedByOldDocker({ image, tags: ["localhost/image:1"] });
  await Deno.writeFile(given, writeTar(...entries));
  await podman.run("load", "--quiet", "--input", given);
  const path = join(podman.path, "saved.tar");
  // deno-fmt-ignore
  await podman.run("save", "--quiet", "--format", "oci-archive", "--output", path,
    "localhost/image:1");
  const [listed] = await source().contents?.(path, FOREVER) ?? [];
  assert.deepEqual(listed?.names, ["localhost/image:1"]);
  await using opened = await open(listed?.reference ?? "");
  const manifest = parseManifest(opened.manifest, "it");
  assert.ok(manifest.kind === "image");
  assert.equal(manifest.layers.length, 1);
});
