import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { formatOciReference, ociSource, parseOciReference } from "../../plugins/sources/oci.ts";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { parsePlatform } from "../../src/images/platform.ts";
import type { ImageSource, SourceImage } from "../../src/images/source.ts";
import { memoryImage, memoryIndex, someBytes } from "../support/fake_registry.ts";
import { IMAGE_TOOLS, makeLayeredImage } from "../support/images.ts";
import { tagged, TempLayout } from "../support/layout.ts";
import { rejects } from "../support/rejects.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const LAYER = someBytes(700_000);
const IMAGE = memoryImage([LAYER]);
const OTHER = memoryImage([someBytes(10, 2)]);
const ARM = memoryImage([someBytes(10, 3)], "arm64");
const FOREVER = new AbortController().signal;

function source(): ImageSource {
  const found = ociSource().sources?.["oci"];
  assert.ok(found);
  return found;
}

function open(reference: string): Promise<SourceImage> {
  return source().open({
    reference,
    platform: parsePlatform("linux/amd64"),
    credentials: () => Promise.resolve(undefined),
    signal: FOREVER,
  });
}

const HEX = "0123456789abcdef".repeat(4);

const REFERENCES: readonly (readonly [string, string])[] = [
  ["/a/b", "/a/b"],
  ["/a/b/", "/a/b"],
  ["/a/../b//c:t", "/b/c:t"],
  ["/a:latest", "/a:latest"],
  ["/a:docker.io/library/debian:12", "/a:docker.io/library/debian:12"],
  [`/a@sha256:${HEX}`, `/a@sha256:${HEX}`],
  ["/a@b", "/a@b"],
  [".", Deno.cwd()],
  ["x/y:1", join(Deno.cwd(), "x/y:1")],
  ["/", "/"],
];

for (const [text, canonical] of REFERENCES) {
  Deno.test(`parseOciReference reads ${text}`, () => {
    const reference = parseOciReference(text);
    assert.equal(formatOciReference(reference), canonical);
    assert.deepEqual(parseOciReference(canonical), reference);
    assert.equal(source().canonical(text), canonical);
  });
}

for (
  const text of ["", ":tag", "/a:", "/a: b", "/a:../b", `/a:t@sha256:${HEX}`, "/a\0b", "/a:-x"]
) {
  Deno.test(`parseOciReference refuses ${JSON.stringify(text)}`, () => {
    assert.throws(() => parseOciReference(text), { code: "invalid_reference" });
  });
}

Deno.test("ociSource opens the only image, by no tag, its tag, or its digest", async () => {
  await using layout = new TempLayout();
  layout.index(tagged(layout.add(IMAGE), "v1"));
  for (const tail of ["", ":v1", `@${IMAGE.digest}`]) {
    await using image = await open(layout.path + tail);
    assert.equal(image.digest, IMAGE.digest);
    assert.deepEqual(image.manifest, IMAGE.manifest);
    for (const offset of [0, 300_001, LAYER.length]) {
      const { start, body } = await image.blob(digestOf(LAYER), { offset, signal: FOREVER });
      assert.equal(start, offset);
      assert.deepEqual(await new Response(body).bytes(), LAYER.slice(offset));
    }
    const { body } = await image.blob(digestOf(LAYER), { offset: 0, signal: FOREVER });
    await body.cancel(); // must close the file
  }
  assert.equal(source().pin?.(`${layout.path}:v1`, IMAGE.digest), `${layout.path}@${IMAGE.digest}`);
});

Deno.test("ociSource wants a tag when there are several, and lists them", async () => {
  await using layout = new TempLayout();
  layout.index(tagged(layout.add(IMAGE), "b"), tagged(layout.add(OTHER), "a/x:1"));
  await assert.rejects(open(layout.path), {
    code: "image_not_found",
    hint: 'add a tag: "a/x:1", "b"',
  });
  await assert.rejects(open(`${layout.path}:c`), {
    code: "image_not_found",
    hint: 'it has "a/x:1", "b"',
  });
  assert.equal((await open(`${layout.path}:b`)).digest, IMAGE.digest);
  assert.equal((await open(`${layout.path}:a/x:1`)).digest, OTHER.digest);
});

Deno.test("ociSource chooses by platform among images of one tag and in nested indexes", async () => {
  await using layout = new TempLayout();
  const platform = (architecture: string) => ({ platform: { os: "linux", architecture } });
  const amd = { ...tagged(layout.add(IMAGE), "t"), ...platform("amd64") };
  const arm = { ...tagged(layout.add(ARM), "t"), ...platform("arm64") };
  layout.index(arm, amd);
  assert.equal((await open(`${layout.path}:t`)).digest, IMAGE.digest);
  const inner = memoryIndex({ arm64: ARM, amd64: IMAGE });
  const outer = new TextEncoder().encode(JSON.stringify({
    schemaVersion: 2,
    manifests: [{ mediaType: INDEX, digest: layout.blob(inner), size: inner.length }],
  }));
  layout.index({ mediaType: INDEX, digest: layout.blob(outer), size: outer.length });
  assert.equal((await open(layout.path)).digest, IMAGE.digest);
});

Deno.test("ociSource doesn't follow indexes for ever", async () => {
  await using layout = new TempLayout();
  let next = { mediaType: MANIFEST, digest: layout.blob(IMAGE.manifest), size: 1 };
  for (let depth = 0; depth < 6; depth++) {
    const bytes = new TextEncoder().encode(
      JSON.stringify({ schemaVersion: 2, manifests: [next] }),
    );
    next = { mediaType: INDEX, digest: layout.blob(bytes), size: bytes.length };
  }
  layout.index(next);
  await rejects(open(layout.path), "invalid_image", /nested more than 3 deep/);
});

Deno.test("ociSource reports folders without a layout", async () => {
  await using folder = new TempFolder();
  await rejects(open(folder.path), "image_not_found", /Cannot read image folder .*oci-layout/);
  const none = join(folder.path, "none");
  await rejects(open(none), "image_not_found", /Cannot read image .*none: it isn't there/);
  await rejects(open(join(import.meta.filename ?? "", "x")), "image_not_found", /it isn't there/);
});

Deno.test("ociSource reports an empty layout and a digest that isn't there", async () => {
  await using layout = new TempLayout();
  await rejects(open(layout.path), "platform_unsupported", /no images at all/);
  await rejects(open(`${layout.path}@sha256:${HEX}`), "image_not_found", /no such digest/);
});

Deno.test("ociSource refuses broken layouts, and quotes nothing of them", async () => {
  await using layout = new TempLayout();
  layout.index(layout.add(IMAGE));
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ["oci-layout", "secret", /names no version/],
    ["oci-layout", "{}", /names no version/],
    ["oci-layout", '{"imageLayoutVersion":"2.0.0"}', /version "2\.0\.0" is unknown/],
    ["oci-layout", " ".repeat(70_000), /larger than/],
    ["index.json", "secret", /isn't JSON$/],
    ["index.json", "{}", /schemaVersion/],
    ["index.json", '{"schemaVersion":2,"layers":[],"config":{}}', /mediaType/],
    ["index.json", '{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x"}]}', /mediaType/],
  ];
  for (const [path, content, problem] of cases) {
    const before = Deno.readFileSync(join(layout.path, path));
    layout.write(path, content);
    await rejects(open(layout.path), "invalid_image", problem);
    layout.write(path, before);
  }
  assert.equal((await open(layout.path)).digest, IMAGE.digest);
});

Deno.test("ociSource refuses a manifest that was changed", async () => {
  await using layout = new TempLayout();
  layout.index(layout.add(IMAGE));
  layout.write(layout.blobPath(IMAGE.digest), OTHER.manifest);
  await rejects(open(layout.path), "digest_mismatch", new RegExp(IMAGE.digest));
});

Deno.test("ociSource doesn't follow links out of the layout", async () => {
  await using outside = new TempFolder();
  const secret = join(outside.path, "secret");
  await Deno.writeTextFile(secret, "secret");
  for (const path of ["index.json", "oci-layout", `blobs/sha256/${digestHex(IMAGE.digest)}`]) {
    await using layout = new TempLayout();
    layout.index(layout.add(IMAGE));
    await Deno.remove(join(layout.path, path));
    await Deno.symlink(secret, join(layout.path, path));
    await rejects(open(layout.path), "invalid_image", /link that leads out of it/);
  }
  await using layout = new TempLayout();
  layout.index(layout.add(IMAGE));
  const moved = join(outside.path, "sha256");
  await Deno.rename(join(layout.path, "blobs/sha256"), moved);
  await Deno.symlink(moved, join(layout.path, "blobs/sha256"));
  await rejects(open(layout.path), "invalid_image", /link that leads out of it/);
});

Deno.test("ociSource doesn't take a neighbour with the same beginning for its own folder", async () => {
  await using layout = new TempLayout();
  layout.index(layout.add(IMAGE));
  const neighbour = `${layout.path}-neighbour`;
  await Deno.mkdir(neighbour);
  try {
    const blob = join(layout.path, layout.blobPath(IMAGE.digest));
    await Deno.rename(blob, join(neighbour, "blob"));
    await Deno.symlink(join(neighbour, "blob"), blob);
    await rejects(open(layout.path), "invalid_image", /link that leads out of it/);
  } finally {
    await Deno.remove(neighbour, { recursive: true });
  }
});

Deno.test("ociSource follows links to and within the layout", async () => {
  await using layout = new TempLayout();
  await using links = new TempFolder();
  layout.index(layout.add(IMAGE));
  const blob = join(layout.path, layout.blobPath(IMAGE.digest));
  await Deno.rename(blob, `${blob}.real`);
  await Deno.symlink(`${blob}.real`, blob);
  await Deno.symlink(layout.path, join(links.path, "link"));
  assert.equal((await open(join(links.path, "link"))).digest, IMAGE.digest);
});

Deno.test("ociSource refuses what isn't a file where a blob should be", async () => {
  for (const make of ["mkfifo", "mkdir"]) {
    await using layout = new TempLayout();
    layout.index(layout.add(IMAGE));
    const blob = join(layout.path, layout.blobPath(IMAGE.digest));
    await Deno.remove(blob);
    await runTool(make, blob);
    await rejects(open(layout.path), "invalid_image", /isn't a file/);
    await Deno.remove(blob);
    await rejects(open(layout.path), "invalid_image", /isn't there/);
  }
});

const tools = needs(...IMAGE_TOOLS);

Deno.test({
  name: `ociSource opens what umoci writes${tools.note}`,
  ignore: tools.ignore,
  async fn() {
    await using folder = new TempFolder();
    const layout = await makeLayeredImage(folder.path);
    await using image = await open(`${layout}:latest`);
    assert.equal(image.digest, digestOf(image.manifest));
    assert.equal(dirname(layout), folder.path);
  },
});
