/**
 * An image's life that is cut short, and what must be true afterwards.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { buildBaseDisk } from "../../src/images/base_disk/unpack.ts";
import { openDatabase } from "../../src/state/database.ts";
import { ImageTable } from "../../src/state/images.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { filesIn, imageManager, imageStore } from "../support/image_store.ts";
import "../support/native.ts";
import { writeTar } from "../support/tar.ts";

const VICTIM = fileURLToPath(new URL("./pull_victim.ts", import.meta.url));

/** Several pieces of the largest layer are on the disk before it is whole. */
const IMAGE = memoryImage([
  writeTar({ path: "large", data: someBytes(2_500_000) }),
  writeTar({ path: "folder", type: "5" }, { path: "folder/small", data: "small\n" }),
  writeTar({ path: "folder/.wh.small" }, { path: "other", data: someBytes(100_000, 3) }),
]);

/** Tells how far a victim is. */
export interface Progress {
  /** When it began to pull and when it was done, in `ms` of `performance.now`. */
  readonly began: number;
  readonly ended: number;
  /** The points that it passed; none when it died. */
  readonly passed: readonly string[];
}

/** A registry with the image, which gives it slowly enough to be cut short. */
export class CrashRegistry implements AsyncDisposable {
  readonly #registry = new FakeRegistry();

  constructor() {
    this.#registry.addImage("a/b:1", IMAGE);
    this.#registry.misbehave = (request, url) => {
      const blob = IMAGE.blobs.get(/\/blobs\/(.*)$/.exec(url.pathname)?.[1] ?? "");
      return blob && slowly(blob, request);
    };
  }

  /** What to pull. */
  get reference(): string {
    return `${this.#registry.host}/a/b:1`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#registry[Symbol.asyncDispose]();
  }
}

/**
 * Lets a program do all with the image, from its pull to its removal, unless it dies before: at a
 * point, or when `kill`, called when it begins, resolves.
 */
export async function playPull(
  home: string,
  reference: string,
  { at, kill }: { readonly at?: string; readonly kill?: () => Promise<void> } = {},
): Promise<Progress | "died"> {
  await using child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", VICTIM, home, reference, ...(at ? [at] : [])],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const errors = new Response(child.stderr).text();
  let began = 0;
  let told = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    if (began === 0) {
      began = performance.now();
      void kill?.().then(() => killIfThere(child));
    }
    told += text;
  }
  const ended = performance.now();
  const { code, signal } = await child.status;
  if (signal === "SIGKILL" && (at !== undefined || kill !== undefined)) {
    await errors;
    return "died";
  }
  assert.equal(code, 0, await errors);
  return { began, ended, passed: JSON.parse(told.slice("began\n".length)) };
}

/** Nothing counts in a home that isn't whole; whatever else a dead program left. */
export async function checkWhole(home: string): Promise<void> {
  for (const path of Object.keys(filesIn(home))) {
    if (path.startsWith("blobs/sha256/")) {
      const name = path.slice("blobs/sha256/".length);
      assert.equal(digestHex(digestOf(await Deno.readFile(join(home, path)))), name);
    } else if (path.startsWith("disks/") && path.endsWith(".ext4")) {
      await checkDisk(join(home, path));
    }
  }
}

/** The next pull works in a home that dead programs left, and leaves no more than itself. */
export async function checkNextPull(home: string, reference: string): Promise<void> {
  await ageTemporaries(join(home, "blobs/references"));
  const database = openDatabase(join(home, "state.db"));
  try {
    const ledger = new ImageTable(database);
    const store = imageStore(home, { records: ledger, build: buildBaseDisk });
    const manager = imageManager(home, store, ledger);
    for (const image of manager.list()) { // those that are still named are still here
      assert.equal(image.digest, IMAGE.digest);
      await checkDisk(await store.baseDisk(image.digest));
    }
    const { digest } = await store.pull(reference);
    assert.equal(digest, IMAGE.digest);
    await checkDisk(await store.baseDisk(digest));
    for (const image of manager.list()) {
      if (image.reference !== `registry:${reference}`) await manager.remove(image.reference);
    }
    await manager.prune();
  } finally {
    database.close();
  }
  await checkWhole(home);
  const reference64 = digestHex(digestOf(new TextEncoder().encode(`registry:${reference}`)));
  assert.deepEqual(
    Object.keys(filesIn(home)).filter((path) => !path.startsWith("state.db")).sort(),
    [
      `blobs/references/${reference64}.json`,
      ...[...IMAGE.blobs.keys(), IMAGE.digest].map((each) => `blobs/sha256/${digestHex(each)}`),
      `disks/${digestHex(IMAGE.digest)}.ext4`,
    ].sort(),
  );
}

let fresh: Promise<string> | undefined;

/** Byte for byte what a program makes that nobody disturbs. */
async function checkDisk(path: string): Promise<void> {
  fresh ??= freshDisk();
  assert.equal(digestOf(await Deno.readFile(path)), await fresh, `${path} isn't whole`);
}

async function freshDisk(): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "hutch-test-" });
  try {
    await using registry = new CrashRegistry();
    const store = imageStore(folder, { build: buildBaseDisk });
    const { digest } = await store.pull(registry.reference);
    return digestOf(await Deno.readFile(await store.baseDisk(digest)));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Halves of small files go when they are old: let them be. */
async function ageTemporaries(folder: string): Promise<void> {
  try {
    for await (const { name } of Deno.readDir(folder)) {
      if (name.endsWith(".new")) await Deno.utime(join(folder, name), 0, 0);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** In pieces with pauses, from where it was asked for. */
function slowly(blob: Uint8Array<ArrayBuffer>, request: Request): Response {
  let at = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
  const headers = { "content-length": `${blob.length - at}` };
  const range = { "content-range": `bytes ${at}-${blob.length - 1}/${blob.length}` };
  const status = at === 0 ? 200 : 206;
  const body = new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      controller.enqueue(blob.slice(at, at + 64 * 1024));
      at += 64 * 1024;
      if (at >= blob.length) controller.close();
    },
  }, { highWaterMark: 0 });
  return new Response(body, { status, headers: at === 0 ? headers : { ...headers, ...range } });
}

function killIfThere(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It was done before.
  }
}
