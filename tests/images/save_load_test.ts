import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import type { Queries } from "../../src/plugin/contract.ts";
import { DISK_TOOLS, makeExt4 } from "../support/disks.ts";
import { savedByDocker, savedByOldDocker } from "../support/docker_archive.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { ManagedImages } from "../support/managed_images.ts";
import "../support/native.ts";
import { rejects } from "../support/rejects.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const LAYERS = [someBytes(70_001, 1), someBytes(512, 2), someBytes(0, 3)];
const ONE = memoryImage(LAYERS);
const TWO = memoryImage([someBytes(70_001, 1), someBytes(9_999, 4)]);

function serving(): FakeRegistry {
  const registry = new FakeRegistry();
  registry.addImage("a/one:1", ONE);
  registry.addImage("a/two:1", TWO);
  return registry;
}

const decoder = new TextDecoder("latin1");

/** A home with both images, the first of them called `mine:1` as well. */
async function filled(registry: FakeRegistry): Promise<ManagedImages> {
  const images = new ManagedImages();
  for (const name of ["one", "two"]) await images.store.pull(`${registry.host}/a/${name}:1`);
  await images.manager.tag(ONE.digest, "mine:1");
  return images;
}

for (const format of ["oci", "docker-archive"] as const) {
  Deno.test(`ImageManager.load takes what ImageManager.save wrote, ${format}`, async () => {
    await using folder = new TempFolder();
    const path = join(folder.path, "images.tar");
    await using registry = serving();
    await using from = await filled(registry);
    const two = `registry:${registry.host}/a/two:1`;
    const saved = await from.manager.save(["mine:1", two], { to: path, format });
    const { size } = await Deno.stat(path);
    assert.equal(saved.bytes, size);
    assert.deepEqual(
      saved.images.map(({ references }) => references).flat().sort(),
      ["registry:docker.io/library/mine:1", two].sort(),
    );
    const asked = registry.requests.length;

    await using to = new ManagedImages();
    const questions: Queries["verify"]["question"][] = [];
    to.verify = (question) => {
      questions.push(question);
      return Promise.resolve({ ok: true });
    };
    for (const source of [path, (await Deno.open(path)).readable]) {
      const loaded = await to.manager.load(source);
      const names = new Map(loaded.map(({ digest, references }) => [references[0], digest]));
      assert.deepEqual(
        [...names.keys()].sort(),
        ["registry:docker.io/library/mine:1", two].sort(),
      );
      if (format === "oci") assert.equal(names.get(two), TWO.digest);
    }
    assert.equal(registry.requests.length, asked);
    assert.equal(questions.length, 4);
    const [first] = questions.filter(({ reference }) => reference === two);
    assert.equal(digestOf(first?.manifest ?? new Uint8Array()), first?.digest);
    assert.ok(first?.source?.startsWith(`${format}:${path}`), first?.source ?? "null");
    // The source is named, and two loads leave nothing but the images.
    const left = to.files().filter((path) => !path.startsWith("blobs/sha256"));
    assert.deepEqual(left.map((path) => path.split("/")[1]), ["references", "references"]);

    const mine = await to.store.resolve("mine:1");
    assert.equal(mine.origin, null);
    assert.deepEqual(mine.layers.map(({ diffId }) => diffId), ONE.layers);
    const disk = await Deno.readFile(await to.store.baseDisk(mine.digest));
    assert.equal(disk.length, LAYERS.reduce((sum, { length }) => sum + length, 0));
    assert.deepEqual(mine.config.cmd, ["sh"]);
    assert.ok(to.events.includes("+ registry:docker.io/library/mine:1"));
  });

  Deno.test(`ImageManager.save writes the same bytes for the same images, ${format}`, async () => {
    await using folder = new TempFolder();
    await using registry = serving();
    await using one = await filled(registry);
    await using two = await filled(registry);
    const names = ["mine:1", `${registry.host}/a/two:1`];
    const paths = ["a.tar", "b.tar"].map((name) => join(folder.path, name));
    await one.manager.save(names, { to: paths[0] ?? "", format });
    await two.manager.save(names.toReversed(), { to: paths[1] ?? "", format });
    const [first, second] = await Promise.all(paths.map((path) => Deno.readFile(path)));
    assert.deepEqual(first, second);
    // The clock and the user are in none of them.
    assert.match(
      decoder.decode(first?.subarray(100, 148)),
      /^0000644\0(?:0000000\0){2}.{12}0{11}\0$/s,
    );
    const chunks: Uint8Array[] = [];
    const to = new WritableStream<Uint8Array>({ write: (chunk) => void chunks.push(chunk) });
    await two.manager.save(names, { to, format });
    assert.equal(Buffer.compare(Buffer.concat(chunks), first ?? new Uint8Array()), 0);
  });
}

const { ignore, note } = needs("skopeo");
const mount = needs("mount", "umount");
const isRoot = Deno.uid() === 0;

Deno.test(`ImageManager.save writes what skopeo reads${note}`, { ignore }, async () => {
  await using folder = new TempFolder();
  await using registry = serving();
  await using images = await filled(registry);
  for (const format of ["oci", "docker-archive"] as const) {
    const path = join(folder.path, `${format}.tar`);
    await images.manager.save(["mine:1", `${registry.host}/a/two:1`], { to: path, format });
    const name = format === "oci" ? `oci-archive:${path}` : `docker-archive:${path}`;
    const to = `dir:${join(folder.path, format)}`;
    // deno-fmt-ignore
    await runTool("skopeo", "--insecure-policy", "copy", "--quiet",
      `${name}:docker.io/library/mine:1`, to);
    const manifest = JSON.parse(
      await Deno.readTextFile(join(folder.path, format, "manifest.json")),
    );
    assert.equal(manifest.layers.length, LAYERS.length);
  }
});

Deno.test("ImageManager.save replaces a file when all is written, and only then", async () => {
  await using folder = new TempFolder();
  await using registry = serving();
  await using images = await filled(registry);
  const { manager, store } = images;
  const path = join(folder.path, "images.tar");
  const link = join(folder.path, "link.tar");
  await Deno.writeTextFile(path, "before");
  await Deno.symlink("images.tar", link);
  const [layer = ""] = ONE.layers;
  const file = store.blobs.path(layer);
  await Deno.writeFile(file, someBytes(70_001, 99));
  await rejects(manager.save(["mine:1"], { to: path }), "digest_mismatch", /was changed$/);
  const signal = AbortSignal.abort(new Error("enough"));
  await rejects(manager.save(["mine:1"], { to: path, signal }), "cancelled", /cancelled$/);
  await Deno.writeFile(file, LAYERS[0] ?? new Uint8Array());
  await rejects(manager.save(["mine:1"], { to: "/dev/full" }), "no_space", /no space is left/);
  await rejects(
    manager.save(["nope:1"], { to: path }),
    "image_not_found",
    /nope:1: it isn't here$/,
  );
  await rejects(manager.save([], { to: path }), "invalid_option", /none is named$/);
  await rejects(manager.save(["mine:1"], { to: folder.path }), "invalid_option", /it is a folder$/);
  const nowhere = join(folder.path, "no/such/images.tar");
  await rejects(manager.save(["mine:1"], { to: nowhere }), "invalid_option", /folder isn't there$/);
  assert.equal(await Deno.readTextFile(path), "before");
  assert.deepEqual(names(folder), ["images.tar", "link.tar"]);

  await manager.save(["mine:1"], { to: link });
  assert.ok((await Deno.lstat(link)).isSymlink);
  assert.ok((await Deno.stat(path)).size > 70_000);
  assert.deepEqual(names(folder), ["images.tar", "link.tar"]);
  assert.deepEqual(images.files().filter((path) => path.startsWith("blobs/uses")), []);
});

Deno.test({
  name: `ImageManager.save and load leave nothing on a full disk${mount.note}${
    isRoot ? "" : " (needs root)"
  }`,
  ignore: mount.ignore || !isRoot,
  async fn() {
    await using folder = new TempFolder();
    await using registry = serving();
    await using images = await filled(registry);
    const path = join(folder.path, "images.tar");
    await images.manager.save(["mine:1"], { to: path });
    const small = join(folder.path, "small");
    await Deno.mkdir(small);
    await runTool("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small);
    try {
      const to = join(small, "images.tar");
      await rejects(images.manager.save(["mine:1"], { to }), "no_space", /no space is left/);
      assert.deepEqual([...Deno.readDirSync(small)], []);
    } finally {
      await runTool("umount", small);
    }
    await using other = new ManagedImages();
    const blobs = join(other.home, "blobs");
    await Deno.mkdir(blobs);
    await runTool("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", blobs);
    try {
      for (const from of [path, (await Deno.open(path)).readable]) {
        await rejects(other.manager.load(from), "no_space", /no space is left/);
      }
      assert.deepEqual(other.manager.list({ all: true }), []);
      assert.deepEqual(other.files().filter((file) => file.startsWith("blobs/partial")), []);
    } finally {
      await runTool("umount", blobs);
    }
  },
});

Deno.test("ImageManager.save keeps what it writes from being removed meanwhile", async () => {
  await using registry = serving();
  await using images = await filled(registry);
  await using other = new ManagedImages(images.home);
  const names = [`${registry.host}/a/one:1`, `${registry.host}/a/two:1`];
  let removed = false;
  let bytes = 0;
  const to = new WritableStream<Uint8Array>({
    async write(chunk) {
      bytes += chunk.length;
      if (removed) return;
      removed = true;
      for (const name of [...names, "mine:1"]) await other.manager.remove(name);
      await other.manager.prune({ all: true });
    },
  });
  const saved = await images.manager.save(names, { to });
  assert.equal(saved.bytes, bytes);
  assert.ok(bytes > 80_000, `${bytes}`);
  await other.manager.prune();
  assert.deepEqual(images.files(), []);
});

Deno.test("ImageManager.save fetches layers that went missing", async () => {
  await using folder = new TempFolder();
  await using registry = serving();
  await using images = await filled(registry);
  const [layer = ""] = TWO.layers;
  await Deno.remove(images.store.blobs.path(layer));
  const path = join(folder.path, "images.tar");
  await images.manager.save([TWO.digest], { to: path });
  await using to = new ManagedImages();
  assert.deepEqual(await to.manager.load(path), [{ digest: TWO.digest, references: [] }]);
  // Without a name it is called by its digest, and prune takes it.
  assert.equal((await to.store.resolve(TWO.digest)).digest, TWO.digest);
  assert.equal((await to.manager.tag(TWO.digest, "two:1")).origin, null);
  assert.equal((await to.manager.prune()).images.length, 0);
});

Deno.test("ImageManager.load records nothing of what is broken, refused or cancelled", async () => {
  await using folder = new TempFolder();
  await using registry = serving();
  await using from = await filled(registry);
  const path = join(folder.path, "images.tar");
  await from.manager.save(["mine:1"], { to: path });
  const good = await Deno.readFile(path);
  await using to = new ManagedImages();
  const { manager } = to;
  await rejects(manager.load(join(folder.path, "none")), "image_not_found", /it isn't there$/);
  await rejects(manager.load(folder.path), "image_not_found", /it is not a file$/);
  const strange = join(folder.path, "strange");
  for (const bytes of [new Uint8Array(), someBytes(10_000), writeTar({ path: "x", data: "y" })]) {
    await Deno.writeFile(strange, bytes);
    await rejects(manager.load(strange), "invalid_image", /Cannot (?:load|read)/);
  }
  // A stream has no name, and the file that it goes through says nothing to anybody.
  for (
    const [bytes, problem] of [
      [new Uint8Array(), /^Cannot load what came in: it is empty$/],
      [someBytes(10_000), /^Cannot load what came in: it is neither /],
      [good.slice(0, 30_000), /^Cannot read (?:image )?archive what came in[^/]*$/],
    ] as const
  ) {
    await rejects(manager.load(new Blob([bytes]).stream()), "invalid_image", problem);
  }
  // A layer that isn't what its digest says.
  const changed = good.slice();
  const at = find(changed, LAYERS[0]?.subarray(0, 64) ?? new Uint8Array());
  changed[at] = (changed[at] ?? 0) ^ 1;
  await Deno.writeFile(strange, changed);
  await rejects(manager.load(strange), "digest_mismatch", /digest|bytes/);
  // One that is cut short.
  await Deno.writeFile(strange, good.slice(0, good.length - 40_000));
  await rejects(manager.load(strange), "invalid_image", /Cannot/);
  to.verify = () => Promise.resolve({ ok: false, reason: "nobody signed it" });
  await rejects(manager.load(path), "image_refused", /mine:1: nobody signed it$/);
  to.verify = () => Promise.resolve(undefined);
  const stop = new AbortController();
  let read = 0;
  const endless = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      if (++read === 3) stop.abort();
      controller.enqueue(good.slice(0, 4096));
    },
  });
  await rejects(manager.load(endless, { signal: stop.signal }), "cancelled", /cancelled$/);
  assert.deepEqual(manager.list({ all: true }), []);
  assert.deepEqual(to.files().filter((file) => !file.startsWith("blobs/sha256")), []);
  await manager.prune();
  assert.deepEqual(to.files(), []);
  assert.equal((await manager.load(path)).length, 1);
});

const tools = needs(...DISK_TOOLS);

Deno.test(`ImageManager.save keeps an image that is a disk, in a format that can${tools.note}`, {
  ignore: tools.ignore,
}, async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "images.tar");
  const raw = join(folder.path, "disk");
  await Deno.mkdir(join(folder.path, "root"));
  await makeExt4(raw, join(folder.path, "root"), { mebibytes: 8 });
  await using from = new ManagedImages();
  const { digest, reference } = await from.store.pull(`disk:${raw}`);
  await from.manager.tag(reference, "mydisk:1");
  const docker = from.manager.save(["mydisk:1"], { to: path, format: "docker-archive" });
  await rejects(docker, "invalid_option", /it is a disk, not layers$/);
  await from.manager.save(["mydisk:1"], { to: path });
  // The disk is the layer's own file: a box needs it.
  from.addBox("web", from.manager.list()[0] ?? assert.fail());
  await from.manager.remove("mydisk:1");
  await from.manager.remove(reference, { force: true });
  await from.manager.prune({ all: true });
  await using to = new ManagedImages();
  assert.deepEqual((await to.manager.load(path)).map(({ digest }) => digest), [digest]);
  const disks = await Promise.all([from, to].map(({ store }) => store.disk(digest)));
  assert.deepEqual(disks.map(({ format }) => format), ["qcow2", "qcow2"]);
  const [first, second] = await Promise.all(disks.map(({ path }) => Deno.readFile(path)));
  assert.deepEqual(first, second);
});

Deno.test("ImageManager.load takes all images and names of what docker save writes", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "images.tar");
  const list = [{ image: ONE, tags: ["one:1", "uno:1"] }, { image: TWO, tags: ["two:1"] }];
  for (const entries of [savedByDocker(...list), savedByOldDocker(...list)]) {
    await Deno.writeFile(path, writeTar(...entries));
    await using images = new ManagedImages();
    const loaded = await images.manager.load(path);
    assert.deepEqual(
      loaded.map(({ references }) => references.map((name) => name.replace(/.*\//, "")).sort()),
      [["one:1", "uno:1"], ["two:1"]],
    );
    const [one, two] = await Promise.all(
      ["uno:1", "two:1"].map((name) => images.store.resolve(name)),
    );
    assert.deepEqual(one?.layers.map(({ diffId }) => diffId), ONE.layers);
    assert.deepEqual(two?.layers.map(({ diffId }) => diffId), TWO.layers);
  }
});

Deno.test("ImageManager.load takes names that can be one, and no others", async () => {
  await using folder = new TempFolder();
  const wanted: Record<string, string | undefined> = {
    "plain:1": "registry:docker.io/library/plain:1",
    "docker.io/library/whole:1": "registry:docker.io/library/whole:1",
    "oci:/etc/passwd": undefined,
    "../../etc:1": undefined,
    "UPPER:1": undefined,
    "": undefined,
    [`x@${ONE.digest}`]: undefined,
  };
  const config = [...ONE.blobs].find(([digest]) => !ONE.layers.includes(digest));
  const blob = (digest: string) => ({ path: digestHex(digest), data: ONE.blobs.get(digest) ?? "" });
  const path = join(folder.path, "images.tar");
  const entry = {
    Config: digestHex(config?.[0] ?? ""),
    RepoTags: Object.keys(wanted),
    Layers: ONE.layers.map(digestHex),
  };
  await Deno.writeFile(
    path,
    writeTar(
      { path: "manifest.json", data: JSON.stringify([entry]) },
      ...[...new Set([config?.[0] ?? "", ...ONE.layers])].map(blob),
    ),
  );
  await using images = new ManagedImages();
  const [loaded] = await images.manager.load(path);
  const expected = Object.values(wanted).filter((name) => name !== undefined);
  assert.deepEqual([...loaded?.references ?? []].sort(), expected.sort());
  assert.deepEqual(images.manager.list().map(({ reference }) => reference), expected);
});

function names(folder: TempFolder): readonly string[] {
  return [...Deno.readDirSync(folder.path)].map(({ name }) => name).sort();
}

function find(bytes: Uint8Array, piece: Uint8Array): number {
  return Buffer.from(bytes).indexOf(Buffer.from(piece));
}
