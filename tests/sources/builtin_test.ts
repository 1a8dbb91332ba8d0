import assert from "node:assert/strict";
import { join } from "node:path";
import { staticProblem } from "../../plugins/sources/builtin/busybox.ts";
import { writeUstar } from "../../plugins/sources/builtin/ustar.ts";
import { builtinSource } from "../../plugins/sources/builtin.ts";
import { HutchError } from "../../src/errors.ts";
import { digestOf } from "../../src/images/digest.ts";
import { parseConfig } from "../../src/images/config.ts";
import { parseManifest } from "../../src/images/manifest.ts";
import { hostPlatform, parsePlatform } from "../../src/images/platform.ts";
import type { ImageSource, SourceImage } from "../../src/images/source.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const FOREVER = new AbortController().signal;

function source(): ImageSource {
  const found = builtinSource().sources?.["builtin"];
  assert.ok(found);
  return found;
}

function open(reference = "busybox"): Promise<SourceImage> {
  return source().open({
    reference,
    platform: hostPlatform(),
    credentials: () => Promise.resolve(undefined),
    signal: FOREVER,
  });
}

async function read(
  image: SourceImage,
  digest: string,
  offset = 0,
): Promise<Uint8Array<ArrayBuffer>> {
  const { start, body } = await image.blob(digest, { offset, signal: FOREVER });
  assert.equal(start, offset);
  return new Uint8Array(await new Response(body).arrayBuffer());
}

/** Runs with HUTCH_BUSYBOX set. */
async function withBusybox(path: string, run: () => Promise<void>): Promise<void> {
  const before = Deno.env.get("HUTCH_BUSYBOX");
  Deno.env.set("HUTCH_BUSYBOX", path);
  try {
    await run();
  } finally {
    if (before === undefined) Deno.env.delete("HUTCH_BUSYBOX");
    else Deno.env.set("HUTCH_BUSYBOX", before);
  }
}

const busybox = needs("busybox", "tar");

Deno.test({
  name: `builtinSource makes a whole image of the machine's busybox${busybox.note}`,
  ignore: busybox.ignore,
  async fn() {
    await using image = await open();
    assert.equal(image.digest, digestOf(image.manifest));
    const manifest = parseManifest(image.manifest, "it");
    assert.ok(manifest.kind === "image");
    assert.equal(manifest.layers.length, 1);
    const [layer] = manifest.layers;
    assert.ok(layer);
    const tar = await read(image, layer.digest);
    assert.equal(digestOf(tar), layer.digest);
    assert.equal(tar.length, layer.size);
    const bytes = await read(image, manifest.config.digest);
    assert.equal(digestOf(bytes), manifest.config.digest);
    const config = parseConfig(bytes, "it", 1);
    assert.deepEqual(config.diffIds, [layer.digest]);
    assert.deepEqual(config.config.cmd, ["sh"]);
    assert.match(config.config.env["PATH"] ?? "", /^\/usr\/local\/sbin:.*:\/bin$/);
    assert.deepEqual(await read(image, layer.digest, 1000), tar.slice(1000));

    await using folder = new TempFolder();
    const archive = join(folder.path, "layer.tar");
    await Deno.writeFile(archive, tar);
    const listing = await runTool("tar", "-tvf", archive);
    assert.match(listing, /^drwxrwxrwt root\/root .* tmp\/$/m);
    assert.match(listing, /^drwx------ root\/root .* root\/$/m);
    assert.match(listing, /^-rwxr-xr-x root\/root .* bin\/busybox$/m);
    assert.match(listing, /^hrwxr-xr-x root\/root .* bin\/sh link to bin\/busybox$/m);
    for (const path of ["dev/", "proc/", "sys/", "run/", "home/", "etc/passwd", "usr/bin/["]) {
      assert.ok(listing.includes(` ${path}`), path);
    }
    const root = join(folder.path, "root");
    await Deno.mkdir(root);
    await runTool("tar", "-xf", archive, "-C", root);
    assert.equal(await runTool(join(root, "bin/echo"), "hello"), "hello\n");
  },
});

Deno.test({
  name: `builtinSource gives the same digest every time${busybox.note}`,
  ignore: busybox.ignore,
  async fn() {
    await using one = await open();
    await using two = await open();
    assert.equal(one.digest, two.digest);
    await assert.rejects(one.blob(digestOf(new Uint8Array(1)), { offset: 0, signal: FOREVER }), {
      code: "invalid_image",
    });
  },
});

Deno.test("builtinSource knows its images' names", async () => {
  assert.equal(source().canonical("busybox"), "busybox");
  for (const text of ["", "Busybox", "busybox:1", "../busybox", "a/b", "x".repeat(64)]) {
    assert.throws(() => source().canonical(text), { code: "invalid_reference" });
  }
  await assert.rejects(open("toybox"), { code: "image_not_found", hint: /builtin:busybox/ });
});

Deno.test("builtinSource says what is wrong with HUTCH_BUSYBOX and how to mend it", async () => {
  await using folder = new TempFolder();
  const file = (name: string, content: Uint8Array | string) => {
    const path = join(folder.path, name);
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    Deno.writeFileSync(path, bytes, { mode: 0o755 });
    return path;
  };
  const elf = elfProgram([1]);
  const cases: readonly (readonly [string, RegExp])[] = [
    [join(folder.path, "none"), /none isn't there/],
    [folder.path, /isn't a file/],
    [file("empty", ""), /isn't an ELF program/],
    [file("script", `#!/bin/sh\n${"#".repeat(100)}`), /isn't an ELF program/],
    [file("dynamic", elfProgram([1, 3])), /isn't static/],
    [file("broken", elf), /doesn't (start|list its applets)/],
  ];
  for (const [path, problem] of cases) {
    await withBusybox(path, async () => {
      await assert.rejects(open(), (error) => {
        assert.ok(error instanceof HutchError);
        assert.equal(error.code, "part_missing", error.message);
        assert.match(error.message, problem);
        assert.match(error.hint ?? "", /^apt-get install busybox-static/);
        return true;
      });
    });
  }
});

/** The beginning of a program for this machine with these program headers. */
function elfProgram(headers: readonly number[], machine?: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(64 + headers.length * 56);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x7f454c46);
  bytes.set([2, 1, 1], 4);
  view.setUint16(16, 2, true);
  view.setUint16(18, machine ?? (Deno.build.arch === "aarch64" ? 183 : 62), true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, headers.length, true);
  headers.forEach((type, index) => view.setUint32(64 + index * 56, type, true));
  return bytes;
}

Deno.test("staticProblem accepts static programs and refuses the others", () => {
  const amd = parsePlatform("linux/amd64");
  assert.equal(staticProblem(elfProgram([1, 2], 62), amd), undefined);
  assert.equal(staticProblem(elfProgram([1], 183), parsePlatform("linux/arm64/v8")), undefined);
  assert.match(staticProblem(elfProgram([1, 3], 62), amd) ?? "", /isn't static/);
  assert.match(staticProblem(elfProgram([1], 183), amd) ?? "", /isn't for linux\/amd64/);
  assert.match(staticProblem(elfProgram([1], 62).slice(0, 100), amd) ?? "", /damaged/);
  assert.match(staticProblem(elfProgram([1], 62).slice(0, 63), amd) ?? "", /isn't an ELF/);
  const far = elfProgram([1], 62);
  new DataView(far.buffer).setBigUint64(32, 2n ** 63n, true);
  assert.match(staticProblem(far, amd) ?? "", /damaged/);
  const small = elfProgram([1], 62);
  small[4] = 1;
  assert.match(staticProblem(small, amd) ?? "", /64-bit/);
});

Deno.test("writeUstar refuses names that don't fit", () => {
  assert.throws(
    () => writeUstar([{ path: "x".repeat(101), mode: 0o644, content: { type: "folder" } }]),
    RangeError,
  );
});

Deno.test("writeUstar writes whole blocks and ends with two empty ones", () => {
  const bytes = writeUstar([
    { path: "a", mode: 0o644, content: { type: "file", bytes: new Uint8Array(513).fill(1) } },
  ]);
  assert.equal(bytes.length, 512 + 1024 + 1024);
  assert.ok(bytes.subarray(-1024).every((byte) => byte === 0));
});
