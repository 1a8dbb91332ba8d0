import assert from "node:assert/strict";
import { join } from "node:path";
import { debian, type DebianOptions } from "../../plugins/debian.ts";
import { digestHex, HutchError, Runtime } from "../../mod.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { DebianRepository, REPOSITORY_TOOLS } from "./debian_repository.ts";

const { ignore, note } = needs(...REPOSITORY_TOOLS);
const SMALL = { variant: "extract", include: ["busybox-static"] } satisfies DebianOptions;

/** A runtime with the plugin, in a home and a folder for temporary files of its own. */
class Bench implements AsyncDisposable {
  readonly #folder = new TempFolder();
  readonly #tmp = Deno.env.get("TMPDIR");
  readonly temporary = join(this.#folder.path, "tmp");
  readonly runtime: Promise<Runtime>;

  constructor(options: DebianOptions) {
    Deno.chmodSync(this.#folder.path, 0o711);
    Deno.mkdirSync(this.temporary);
    Deno.env.set("TMPDIR", this.temporary);
    const home = join(this.#folder.path, "home");
    this.runtime = Runtime.open({ home, plugins: [debian(options)] });
  }

  /** Nothing of mmdebstrap is left: no file, no process. */
  async assertClean(): Promise<void> {
    assert.deepEqual([...Deno.readDirSync(this.temporary)].map(({ name }) => name), []);
    assert.deepEqual(await processesIn(this.temporary), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.runtime).close();
    if (this.#tmp === undefined) Deno.env.delete("TMPDIR");
    else Deno.env.set("TMPDIR", this.#tmp);
    await this.#folder[Symbol.asyncDispose]();
  }
}

/** Command lines of the processes that name the folder. */
async function processesIn(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === Deno.pid) continue;
    const command = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "");
    if (command.includes(folder)) found.push(command);
  }
  return found;
}

Deno.test(`debian makes the same image each time, with nothing of this machine${note}`, {
  ignore,
}, async () => {
  await using repository = await DebianRepository.start();
  const digests: string[] = [];
  for (const mode of [Deno.uid() === 0 ? "root" : "auto", "unshare"] as const) {
    await using bench = new Bench({ ...SMALL, mode, mirror: repository.line });
    const runtime = await bench.runtime;
    const image = await runtime.images.pull("debian:tiny");
    assert.equal(image.reference, "debian:tiny");
    assert.deepEqual(image.config.cmd, ["sh"]);
    digests.push(image.digest);
    await bench.assertClean();
    const layer = digestHex(image.layers[0]?.digest ?? "");
    const files = await runTool("tar", "-tf", join(runtime.home, "blobs/sha256", layer));
    assert.match(files, /^\.\/bin\/busybox$/m);
    assert.doesNotMatch(files, /etc\/(?:hostname|resolv\.conf)/);
    const asked = repository.paths.length;
    const box = await runtime.create({ image: "debian:tiny" });
    assert.equal(box.config.image.digest, image.digest);
    assert.equal(repository.paths.length, asked, "it made an image that is here");
  }
  assert.equal(digests[0], digests[1]);
});

Deno.test(`debian tells mmdebstrap's last lines when it fails${note}`, { ignore }, async () => {
  await using repository = await DebianRepository.start();
  await using bench = new Bench({
    ...SMALL,
    include: ["no-such-package"],
    mirror: repository.line,
  });
  const runtime = await bench.runtime;
  await assert.rejects(async () => await runtime.images.pull("debian:tiny"), (error) => {
    assert.ok(error instanceof HutchError);
    assert.equal(error.code, "image_not_found");
    assert.match(error.message, /^Cannot make debian:tiny: mmdebstrap ended with code \d+:\n/);
    assert.match(error.message, /no-such-package|mmdebstrap failed/);
    return true;
  });
  await bench.assertClean();
});

Deno.test(`debian ends mmdebstrap when it is cancelled${note}`, { ignore }, async () => {
  await using repository = await DebianRepository.start();
  await using bench = new Bench({ ...SMALL, mirror: repository.line });
  const reached = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  using _released = { [Symbol.dispose]: () => held.resolve() }; // also when a check fails
  repository.before = (path) => {
    if (!path.endsWith(".deb")) return Promise.resolve();
    reached.resolve();
    return held.promise;
  };
  const cancelling = new AbortController();
  const { images } = await bench.runtime;
  const pulling = images.pull("debian:tiny", { signal: cancelling.signal });
  await Promise.race([reached.promise, pulling]);
  assert.notDeepEqual(await processesIn(bench.temporary), []);
  cancelling.abort();
  await assert.rejects(async () => await pulling, { code: "cancelled" });
  await bench.assertClean();
  assert.deepEqual(await images.list(), []);
});

Deno.test("debian says how to get mmdebstrap where it is missing", async () => {
  await using bench = new Bench(SMALL);
  Deno.env.set("HUTCH_MMDEBSTRAP", "/no/such/program");
  try {
    const runtime = await bench.runtime;
    await assert.rejects(async () => await runtime.images.pull("debian:tiny"), {
      code: "part_missing",
      hint: "apt-get install mmdebstrap",
    });
  } finally {
    Deno.env.delete("HUTCH_MMDEBSTRAP");
  }
  await bench.assertClean();
});

Deno.test("debian takes names of suites, and leaves registries to their scheme", async () => {
  await using bench = new Bench(SMALL);
  const { images } = await bench.runtime;
  assert.equal(images.canonical("debian:bookworm-backports"), "debian:bookworm-backports");
  assert.equal(images.canonical("debian"), "registry:docker.io/library/debian:latest");
  const numbered = "registry:docker.io/library/debian:12";
  assert.equal(images.canonical("registry:debian:12"), numbered);
  assert.equal(images.canonical("docker.io/library/debian:12"), numbered);
  for (const name of ["12", "--help", "a/b", "../x", "A", "a b", "a--b", "x".repeat(65)]) {
    assert.throws(() => images.canonical(`debian:${name}`), { code: "invalid_reference" });
  }
});
