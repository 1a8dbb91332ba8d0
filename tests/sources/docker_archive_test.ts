import assert from "node:assert/strict";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import {
  dockerArchiveSource,
  formatDockerArchiveReference,
  parseDockerArchiveReference,
} from "../../plugins/sources/docker_archive.ts";
import { HutchError } from "../../src/errors.ts";
import { digestOf } from "../../src/images/digest.ts";
import { parseManifest } from "../../src/images/manifest.ts";
import { parsePlatform } from "../../src/images/platform.ts";
import type { ImageSource, SourceImage } from "../../src/images/source.ts";
import { fc } from "../deps.ts";
import { configOf, savedByDocker, savedByOldDocker } from "../support/docker_archive.ts";
import { memoryImage, someBytes } from "../support/fake_registry.ts";
import { copyImage, IMAGE_TOOLS, makeLayeredImage } from "../support/images.ts";
import "../support/native.ts";
import { PODMAN_TOOLS, TempPodman } from "../support/podman.ts";
import { type TarFields, writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";

const SHARED = someBytes(100_000);
const IMAGE = memoryImage([SHARED, someBytes(1000, 2)]);
const OTHER = memoryImage([SHARED, someBytes(10, 3), SHARED]);
const ARM = memoryImage([someBytes(10, 4)], "arm64");
const FOREVER = new AbortController().signal;

function source(): ImageSource {
  const found = dockerArchiveSource().sources?.["docker-archive"];
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

/** An archive in a folder of its own. */
class TempArchive extends TempFolder {
  readonly file: string = join(this.path, "saved.tar");

  constructor(entries: readonly TarFields[], pack = (bytes: Uint8Array) => bytes) {
    super();
    Deno.writeFileSync(this.file, pack(writeTar(...entries)));
  }
}

/** The image's configuration and layers by what they hold. */
async function digests(image: SourceImage): Promise<readonly string[]> {
  const manifest = parseManifest(image.manifest, "it");
  assert.ok(manifest.kind === "image");
  const blobs = [manifest.config, ...manifest.layers];
  return await Promise.all(blobs.map(async ({ digest, size }) => {
    const { body } = await image.blob(digest, { offset: 0, signal: FOREVER });
    const bytes = await new Response(body).bytes();
    assert.deepEqual([digestOf(bytes), bytes.length], [digest, size]);
    return digest;
  }));
}

function replaced(
  entries: readonly TarFields[],
  path: RegExp,
  change: (entry: TarFields) => readonly TarFields[],
): readonly TarFields[] {
  assert.ok(entries.some((entry) => path.test(entry.path)), String(path));
  return entries.flatMap((entry) => path.test(entry.path) ? change(entry) : [entry]);
}

function named(entries: readonly TarFields[], path: string): TarFields {
  const found = entries.find((entry) => entry.path === path);
  assert.ok(found, path);
  return found;
}

const REFERENCES: readonly (readonly [string, string])[] = [
  ["/a/b.tar", "/a/b.tar"],
  ["/a/../b.tar:debian", "/b.tar:docker.io/library/debian:latest"],
  ["/b.tar:localhost/x:1", "/b.tar:localhost/x:1"],
  ["/b.tar:localhost:5000/x", "/b.tar:localhost:5000/x:latest"],
  ["/b.tar:@0", "/b.tar:@0"],
  ["/b.tar:@12", "/b.tar:@12"],
  ["x.tar", join(Deno.cwd(), "x.tar")],
];

for (const [text, canonical] of REFERENCES) {
  Deno.test(`parseDockerArchiveReference reads ${text}`, () => {
    const reference = parseDockerArchiveReference(text);
    assert.equal(formatDockerArchiveReference(reference), canonical);
    assert.deepEqual(parseDockerArchiveReference(canonical), reference);
  });
}

Deno.test("dockerArchiveSource reads what old and new Docker wrote alike", async () => {
  const saved = [
    { image: IMAGE, tags: ["image:1", "image:latest"] },
    { image: OTHER, tags: ["registry.test:5000/team/other:2"] },
  ];
  const found = new Set<string>();
  for (
    const [form, entries] of [
      ["old", savedByOldDocker(...saved)],
      ["new", savedByDocker(...saved)],
      ["dotted", savedByDocker(...saved).map((e) => ({ ...e, path: `./${e.path}` }))],
      [
        "with dotted paths",
        replaced(savedByDocker(...saved), /^manifest.json$/, (entry) => [
          { ...entry, data: String(entry.data).replaceAll('"blobs/', '".//./blobs/') },
        ]),
      ],
    ] as const
  ) {
    for (const pack of [(bytes: Uint8Array) => bytes, gzipSync, zstdCompressSync]) {
      await using archive = new TempArchive(entries, pack);
      const cases = [
        [":image:1", IMAGE],
        [":image", IMAGE],
        [":docker.io/library/image:1", IMAGE],
        [":@0", IMAGE],
        [":registry.test:5000/team/other:2", OTHER],
        [":@1", OTHER],
      ] as const;
      for (const [tail, { layers, ...image }] of cases) {
        await using opened = await open(`${archive.file}${tail}`);
        const id = configOf({ layers, ...image });
        assert.deepEqual(await digests(opened), [id, ...layers], `${form} ${tail}`);
        found.add(opened.digest);
      }
    }
  }
  assert.equal(found.size, 2, "the form changes no digest");
});

Deno.test("dockerArchiveSource reads a blob from where it is asked to", async () => {
  await using archive = new TempArchive(savedByDocker({ image: IMAGE }));
  await using image = await open(archive.file);
  const [layer = ""] = IMAGE.layers;
  for (const [asked, given] of [[0, 0], [1, 1], [99_999, 99_999], [100_001, 100_000]] as const) {
    const { start, body } = await image.blob(layer, { offset: asked, signal: FOREVER });
    assert.equal(start, given);
    assert.equal((await new Response(body).bytes()).length, SHARED.length - given);
  }
});

Deno.test("dockerArchiveSource refuses an archive below a folder with a colon in its name", async () => {
  await using folder = new TempFolder();
  const cwd = join(folder.path, "a:b");
  await Deno.mkdir(cwd);
  const file = import.meta.resolve("../../plugins/sources/docker_archive.ts");
  const code = `import { dockerArchiveSource } from "${file}";
    try { dockerArchiveSource().sources["docker-archive"].canonical("x.tar") }
    catch ({ code, message }) { console.log(code, message) }`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", code],
    cwd,
  }).output();
  const said = new TextDecoder().decode(stdout);
  assert.match(said, /^invalid_reference .*its path has a colon/, new TextDecoder().decode(stderr));
});

Deno.test("dockerArchiveSource says what there is when the name doesn't tell", async () => {
  const tags = ["image:1", "image:2"];
  const saved = [{ image: IMAGE, tags }, { image: OTHER }];
  await using archive = new TempArchive(savedByDocker(...saved));
  const hints = [
    ["", /add a name.*it has "image:1", "image:2"/],
    [":image:3", /it has "image:1", "image:2"/],
    [":@2", /the first one is @0/],
  ] as const;
  for (const [tail, hint] of hints) {
    await assert.rejects(open(`${archive.file}${tail}`), { code: "image_not_found", hint });
  }
  assert.deepEqual(await source().contents?.(archive.file, FOREVER), [
    { reference: `${archive.file}:@0`, names: tags },
    { reference: `${archive.file}:@1`, names: [] },
  ]);
  await using one = new TempArchive(savedByDocker({ image: OTHER }));
  await using opened = await open(one.file);
  assert.equal((await digests(opened)).length, 4);
  await using none = new TempArchive(savedByDocker());
  await assert.rejects(open(none.file), { code: "image_not_found" });
});

Deno.test("dockerArchiveSource refuses an image for another processor", async () => {
  await using archive = new TempArchive(savedByDocker({ image: ARM, tags: ["arm:1"] }));
  await assert.rejects(open(archive.file), {
    code: "platform_unsupported",
    message: /linux\/arm64/,
  });
});

Deno.test("dockerArchiveSource takes compressed layers by what they are", async () => {
  const [bottom = ""] = IMAGE.layers;
  for (const [pack, kind] of [[gzipSync, "gzip"], [zstdCompressSync, "zstd"]] as const) {
    const packed = new Uint8Array(pack(SHARED));
    const named = `blobs/sha256/${digestOf(packed).slice(7)}`;
    const cases = [
      replaced(savedByOldDocker({ image: IMAGE }), /^00f+\/layer/, (e) => [{ ...e, data: packed }]),
      replaced(
        replaced(savedByDocker({ image: IMAGE }), new RegExp(bottom.slice(7)), (e) => [
          { ...e, path: named, data: packed },
        ]),
        /^manifest.json/,
        (e) => [{ ...e, data: String(e.data).replace(bottom.slice(7), digestOf(packed).slice(7)) }],
      ),
    ];
    for (const entries of cases) {
      await using archive = new TempArchive(entries);
      await using image = await open(archive.file);
      const manifest = parseManifest(image.manifest, "it");
      assert.ok(manifest.kind === "image");
      assert.match(manifest.layers[0]?.mediaType ?? "", new RegExp(`\\+${kind}$`));
      const [config, ...layers] = await digests(image);
      assert.deepEqual([config, layers[0]], [configOf(IMAGE), digestOf(packed)]);
    }
  }
});

Deno.test("dockerArchiveSource refuses hostile archives", async () => {
  const good = savedByDocker({ image: IMAGE, tags: ["image:1"] });
  const list = (text: string) =>
    replaced(good, /^manifest.json$/, (entry) => [{ ...entry, data: text }]);
  const entry = JSON.parse(String(named(good, "manifest.json").data))[0];
  const changed = (change: Record<string, unknown>) =>
    list(JSON.stringify([{ ...entry, ...change }]));
  const config = new RegExp(configOf(IMAGE).slice(7));
  const cases: readonly (readonly [readonly TarFields[], string, RegExp])[] = [
    [list("secret"), "invalid_image", /isn't JSON$/],
    [list("{}"), "invalid_image", /its top isn't a list/],
    [list("[7]"), "invalid_image", /\[0\] isn't an object/],
    [list(`[${"{},".repeat(10_001)}{}]`), "invalid_image", /more than 10000/],
    [list(" ".repeat(5_000_000)), "invalid_image", /too large/],
    [changed({ Config: 7 }), "invalid_image", /Config isn't text/],
    [changed({ Config: "../../etc/passwd" }), "invalid_image", /isn't there/],
    [changed({ Config: "blobs" }), "invalid_image", /isn't there/],
    [changed({ Config: "oci-layout" }), "invalid_image", /rootfs/],
    [changed({ Layers: [] }), "invalid_image", /it lists 2 layers, its manifest 0/],
    [changed({ Layers: [entry.Layers[0], "none"] }), "invalid_image", /"none" isn't there/],
    [changed({ Layers: ["x\0", "y"] }), "invalid_image", /NUL/],
    [changed({ RepoTags: [7] }), "invalid_image", /RepoTags\[0\] isn't text/],
    [
      replaced(good, config, (e) => [{ ...e, data: `${new TextDecoder().decode(bytes(e))} ` }]),
      "digest_mismatch",
      /its configuration .* has digest/,
    ],
    [
      replaced(good, config, (e) => [{ ...e, data: new Uint8Array(8 * 1024 * 1024 + 1) }]),
      "invalid_image",
      /larger than/,
    ],
    [
      replaced(good, new RegExp(IMAGE.layers[1]?.slice(7) ?? ""), (e) => [
        { ...e, data: "\xfd7zXZ\0rest" },
      ]),
      "invalid_image",
      /neither gzip nor zstd/,
    ],
    [[{ path: "oci-layout", data: "{}" }], "image_not_found", /no file manifest\.json/],
  ];
  for (const [entries, code, problem] of cases) {
    await using archive = new TempArchive(entries);
    await assert.rejects(open(archive.file), (error) => {
      assert.ok(error instanceof HutchError, String(error));
      assert.match(error.message, problem);
      assert.equal(error.code, code, error.message);
      return true;
    });
  }
});

Deno.test("dockerArchiveSource takes any list, or refuses it", async () => {
  const good = savedByDocker({ image: IMAGE });
  const entry = JSON.parse(String(named(good, "manifest.json").data))[0];
  const paths = good.map(({ path }) => path);
  const path = fc.oneof(fc.constantFrom(...paths, "", ".", "..", "/", "\0"), fc.string());
  const value = fc.oneof(path, fc.array(path, { maxLength: 4 }), fc.jsonValue({ maxDepth: 2 }));
  const list = fc.oneof(
    fc.array(
      fc.record({ Config: value, Layers: value, RepoTags: value }, { requiredKeys: [] })
        .map((change) => ({ ...entry, ...change })),
      { maxLength: 3 },
    ),
    fc.jsonValue(),
  );
  await fc.assert(
    fc.asyncProperty(list, async (list) => {
      const data = new TextEncoder().encode(JSON.stringify(list));
      const entries = replaced(good, /^manifest.json$/, (entry) => [{ ...entry, data }]);
      await using archive = new TempArchive(entries);
      for (const tail of ["", ":@0"]) {
        try {
          await using image = await open(`${archive.file}${tail}`);
          assert.equal(digestOf(image.manifest), image.digest);
        } catch (error) {
          assert.ok(error instanceof HutchError, String(error));
          assert.match(error.code, /^(?:invalid_image|image_not_found|digest_mismatch)$/);
        }
      }
    }),
    { numRuns: 100 },
  );
});

Deno.test("dockerArchiveSource claims no digest that its reader wouldn't check", async () => {
  const changed = replaced(
    savedByDocker({ image: IMAGE }),
    new RegExp(IMAGE.layers[1]?.slice(7) ?? ""),
    (entry) => [{ ...entry, data: someBytes(1000, 9) }],
  );
  await using archive = new TempArchive(changed);
  await using image = await open(archive.file);
  await assert.rejects(digests(image), assert.AssertionError);
});

Deno.test("dockerArchiveSource points OCI layouts to their own source", async () => {
  await using archive = new TempArchive([{ path: "oci-layout", data: "{}" }]);
  await assert.rejects(open(archive.file), { code: "image_not_found", hint: /oci:PATH/ });
  assert.equal(await source().contents?.(archive.file, FOREVER), undefined);
});

const tools = needs(...IMAGE_TOOLS);

Deno.test(`dockerArchiveSource opens what skopeo writes${tools.note}`, {
  ignore: tools.ignore,
}, async () => {
  await using folder = new TempFolder();
  const layout = await makeLayeredImage(folder.path);
  const path = join(folder.path, "skopeo.tar");
  await copyImage(`oci:${layout}:latest`, `docker-archive:${path}:layered:1`);
  const plain = join(folder.path, "plain");
  await copyImage(`oci:${layout}:latest`, `dir:${plain}`, { format: "v2s2" });
  const id = JSON.parse(await Deno.readTextFile(join(plain, "manifest.json"))).config.digest;
  await using image = await open(`${path}:layered:1`);
  const [config, ...layers] = await digests(image);
  assert.equal(config, id, "the id that Docker gives it");
  assert.equal(layers.length, 3);
});

const podman = needs(...PODMAN_TOOLS);

Deno.test(`dockerArchiveSource opens what Podman writes${podman.note}`, {
  ignore: podman.ignore,
}, async () => {
  await using podman = new TempPodman();
  const base = writeTar({ path: "a", data: "a\n" });
  const images = [
    memoryImage([base]),
    memoryImage([base, writeTar({ path: "b", data: "b\n" })]),
  ] as const;
  const saved = images.map((image, at) => ({ image, tags: [`localhost/image:${at}`] }));
  await using given = new TempArchive(savedByOldDocker(...saved));
  await podman.run("load", "--quiet", "--input", given.file);
  await podman.run("tag", "localhost/image:1", "localhost/other:1");
  const path = join(podman.path, "saved.tar");
  const names = ["localhost/image:0", "localhost/image:1", "localhost/other:1"];
  // deno-fmt-ignore
  await podman.run("save", "--quiet", "--format", "docker-archive", "--multi-image-archive",
    "--output", path, ...names);
  for (const [at, name] of names.entries()) {
    const image = images[Math.min(at, 1)] ?? images[0];
    await using opened = await open(`${path}:${name}`);
    assert.deepEqual(await digests(opened), [configOf(image), ...image.layers]);
  }
  const listed = await source().contents?.(path, FOREVER);
  assert.deepEqual(listed?.flatMap(({ names }) => names).sort(), names);
});

function bytes({ data }: TarFields): Uint8Array {
  return typeof data === "string" ? new TextEncoder().encode(data) : data ?? new Uint8Array();
}
