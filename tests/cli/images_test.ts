/** Commands for images: they need a home and the machine's busybox, but no virtual machine. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Buffer } from "node:buffer";
import { formatHistory } from "../../src/cli/image_history.ts";
import { parseFilters } from "../../src/cli/images.ts";
import type { CliIo } from "../../src/cli/io.ts";
import { main } from "../../src/cli/main.ts";
import { FakeRegistry, memoryImage } from "../support/fake_registry.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { memoryIo, MemorySink } from "./helpers.ts";

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command line in a home of its own. */
class Home implements AsyncDisposable {
  readonly folder = new TempFolder();

  async run(...args: string[]): Promise<Result> {
    const io = memoryIo();
    const code = await this.with(io, ...args);
    return { code, stdout: io.stdout.text, stderr: io.stderr.text };
  }

  with(io: CliIo, ...args: string[]): Promise<number> {
    return main(["--home", join(this.folder.path, "home"), "--no-config", ...args], io);
  }

  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.folder[Symbol.asyncDispose]();
  }
}

const IMAGE = "builtin:busybox";

Deno.test("hutch rmi refuses an image with boxes and names them; with -f it takes the name alone", async () => {
  await using home = new Home();
  await home.ok("create", "--name", "web", IMAGE);
  const [image] = JSON.parse(await home.ok("images", "--json"));
  assert.deepEqual([image.reference, image.boxes], [IMAGE, 1]);
  const refused = await home.run("rmi", "nope:1", IMAGE);
  assert.deepEqual([refused.code, refused.stdout], [125, ""]);
  const [missing = "", used = ""] = refused.stderr.split("\n");
  assert.match(
    missing,
    /^hutch: Cannot find image registry:docker.io\/library\/nope:1: it isn't here; hutch images/,
  );
  const near = await home.run("rmi", "builtin:busybix");
  assert.match(near.stderr, /it isn't here; did you mean builtin:busybox\?\n$/);
  assert.match(used, /^hutch: Cannot remove image builtin:busybox: box "web" uses it; .*\(-f\)$/);
  assert.equal(
    await home.ok("rmi", "-f", IMAGE),
    `Untagged: ${IMAGE}\nKept: ${image.digest}, box "web" uses it\n`,
  );
  assert.equal((await home.ok("images")).trimEnd().split("\n").length, 1);
  assert.match(await home.ok("images", "-a"), /^<none> +sha256:[0-9a-f]{12} .* 1$/m);
  assert.equal(await home.ok("images", "-aq"), `${image.digest}\n`);
  await home.ok("rm", "web");
  const dry = await home.ok("image", "prune", "-n");
  assert.match(
    dry,
    /^Removed: sha256:[0-9a-f]{64}\nWould come back: .*B \(3 blobs, 1 base disk\)\n$/,
  );
  const done = await home.ok("image", "prune");
  assert.equal(done, dry.replace("Would come back", "Came back"));
  assert.equal(await home.ok("image", "prune"), "Came back: 0 B\n");
  assert.deepEqual(JSON.parse(await home.ok("image", "prune", "--json")).bytes, 0);
});

Deno.test("hutch image tag gives a name that needs no request", async () => {
  await using home = new Home();
  await home.ok("pull", IMAGE);
  await home.ok("image", "tag", IMAGE, "team/base:1");
  await home.ok("create", "--name", "web", "--pull", "never", "team/base:1");
  const details = JSON.parse(await home.ok("image", "inspect", "team/base:1"));
  assert.equal(details.reference, "registry:docker.io/team/base:1");
  assert.deepEqual(details.references, [IMAGE, details.reference]);
  assert.deepEqual(details.boxes.map(({ name }: { name: string }) => name), ["web"]);
  assert.deepEqual([details.layers.length, details.manifest.layers.length], [1, 1]);
  assert.ok(details.disk.allocated < details.disk.size);
  const both = JSON.parse(await home.ok("image", "inspect", IMAGE, details.digest.slice(7, 19)));
  assert.deepEqual(both.map(({ digest }: { digest: string }) => digest), [
    details.digest,
    details.digest,
  ]);
  const never = await home.run("create", "--pull", "never", "team/other:1");
  assert.match(
    never.stderr,
    /^hutch: Cannot find registry:docker.io\/team\/other:1: it isn't here/,
  );
  for (const target of ["oci:/tmp/x", `x@${details.digest}`, "UPPER", details.digest]) {
    const { code, stderr } = await home.run("image", "tag", IMAGE, target);
    assert.equal(code, 125, target);
    assert.match(stderr, /^hutch: Cannot (?:name|read)/);
  }
  assert.match(await home.ok("images", "--filter", "reference=*team/*"), /^team\/base:1 /m);
  assert.doesNotMatch(await home.ok("images", "--filter", "reference=*team/*"), /busybox/);
});

Deno.test("hutch image save and load pass images on through files and pipes", async () => {
  await using home = new Home();
  await using other = new Home();
  await home.ok("pull", IMAGE);
  await home.ok("image", "tag", IMAGE, "team/base:1");
  const path = join(home.folder.path, "images.tar");
  assert.equal(await home.ok("image", "save", "-o", path, "team/base:1"), "");
  const piped = memoryIo();
  assert.equal(await home.with(piped, "image", "save", "team/base:1"), 0, piped.stderr.text);
  const bytes = Buffer.concat(piped.stdout.chunks);
  assert.equal(Buffer.compare(bytes, await Deno.readFile(path)), 0);

  let at = 0;
  const io = memoryIo();
  const stdin = {
    read(buffer: Uint8Array): Promise<number | null> {
      const piece = bytes.subarray(at, at + Math.min(buffer.length, 1000));
      buffer.set(piece);
      at += piece.length;
      return Promise.resolve(piece.length === 0 ? null : piece.length);
    },
  };
  assert.equal(await other.with({ ...io, stdin }, "image", "load"), 0, io.stderr.text);
  assert.equal(io.stdout.text, "Loaded: team/base:1\n");
  const [image] = JSON.parse(await other.ok("images", "--json"));
  assert.equal(await other.ok("image", "load", "-q", "-i", path), `${image.digest}\n`);
  await other.ok("create", "--pull", "never", "team/base:1");

  const screen = {
    ...memoryIo(),
    stdout: new (class extends MemorySink {
      override isTerminal = () => true;
    })(),
  };
  assert.equal(await home.with(screen, "image", "save", "team/base:1"), 125);
  assert.match(screen.stderr.text, /standard output is a terminal; name a file \(-o FILE\)/);
  assert.equal(screen.stdout.text, "");
  const keys = { ...memoryIo(), stdin: { ...stdin, isTerminal: () => true } };
  assert.equal(await home.with(keys, "image", "load"), 125);
  assert.match(keys.stderr.text, /standard input is a terminal; name a file \(-i FILE\)/);
});

Deno.test("hutch image history shows the steps, the last one first", async () => {
  await using registry = new FakeRegistry();
  await using home = new Home();
  registry.addImage("a/b:1", memoryImage([tarOf(2048), tarOf(1024)]));
  await home.ok("pull", `${registry.host}/a/b:1`);
  const steps = JSON.parse(await home.ok("image", "history", "--json", `${registry.host}/a/b:1`));
  assert.deepEqual(steps.map(({ layer }: { layer: { size: number } }) => layer.size), [3584, 2560]);
  assert.match(
    await home.ok("image", "history", `${registry.host}/a/b:1`),
    /^CREATED +CREATED BY +SIZE +COMMENT\n +<missing> +2.5 KiB\n +<missing> +3.5 KiB\n$/,
  );
  const layer = { digest: "", mediaType: "", diffId: "", size: 4096 };
  const text = formatHistory([
    {
      created: "2026-01-01T00:00:00Z",
      createdBy: "ADD\tx\nin /",
      author: null,
      comment: null,
      layer,
    },
    { created: null, createdBy: "C".repeat(100), author: null, comment: "\x1b[2J", layer: null },
  ], { now: Date.parse("2026-01-02T00:00:00Z"), limit: 20 });
  assert.deepEqual(text.trimEnd().split("\n").slice(1), [
    `            ${"C".repeat(19)}…   0 B     \\x1b[2J`,
    "1 day ago   ADD x in /             4 KiB",
  ]);
});

Deno.test("parseFilters reads patterns and labels of images", () => {
  assert.deepEqual(parseFilters(["reference=*/a:*", "label=x", "label=y=1=2"]), {
    reference: "*/a:*",
    labels: { x: true, y: "1=2" },
  });
  for (const filters of [["x"], ["label="], ["label==1"], ["reference=a", "reference=b"]]) {
    assert.throws(() => parseFilters(filters), /Cannot read --filter/);
  }
});

function tarOf(size: number): Uint8Array<ArrayBuffer> {
  return writeTar({ path: `file-${size}`, data: "x".repeat(size) });
}
