/** Exports while the box goes on: what is read, and what stays of the link that was made for it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Box, Runtime } from "../../mod.ts";
import { FileLock } from "../../src/file_lock.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { boxWith } from "../support/box_archive.ts";
import { needs, runTool } from "../support/tools.ts";
import { filesIn } from "./snapshot_model.ts";
import "../support/native.ts";

const { ignore, note } = needs("qemu-img", "qemu-io");
/** Behind all else that a disk has. */
const PLACE = "60M";
const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/** A home with a box that has run, whose disk has pattern 1. */
class Bench implements AsyncDisposable {
  readonly home: string;
  readonly runtime: Runtime;
  readonly box: Box;

  private constructor(home: string, runtime: Runtime, box: Box) {
    this.home = home;
    this.runtime = runtime;
    this.box = box;
  }

  static async make({ diskSwitch = false } = {}): Promise<Bench> {
    const home = await makeDoubleHome();
    const runtime = await Runtime.open({
      home,
      plugins: [engineDouble({ overlay: true, diskSwitch })],
    });
    const options = { name: "one", engine: DOUBLE_BOX.engine };
    const bench = new Bench(home, runtime, await boxWith(runtime, new Map(), options));
    await bench.write(1);
    return bench;
  }

  get disk(): string {
    return join(this.home, "boxes", this.box.id, "disk.qcow2");
  }

  /** Backing disks. */
  get links(): readonly string[] {
    return filesIn(join(this.home, "backing"));
  }

  /** Writes a pattern in the guest's place. */
  async write(pattern: number): Promise<void> {
    using _held = await FileLock.acquire(join(this.home, "boxes", this.box.id, "operation.lock"));
    await runTool("qemu-io", "-c", `write -P ${pattern} ${PLACE} 64k`, this.disk);
  }

  /** Gives the disk so much that an export can't have read all of it when it has written a little. */
  async fill(): Promise<void> {
    const noise = new Uint8Array(24 * 2 ** 20);
    for (let at = 0; at < noise.length; at += 65536) {
      crypto.getRandomValues(noise.subarray(at, at + 65536));
    }
    const file = join(this.home, "noise");
    await Deno.writeFile(file, noise);
    await runTool("qemu-io", "-c", `write -s ${file} 30M 24M`, this.disk);
  }

  /** What an archive's disk has, by importing it. */
  async patternIn(archive: Blob): Promise<number> {
    const { box } = await this.runtime.import(archive.stream(), { name: "imported" });
    const path = join(this.home, "boxes", box.id, "disk.qcow2");
    const pattern = await this.#pattern(path);
    await box.remove();
    return pattern;
  }

  /** What the box's own disk has. */
  pattern(): Promise<number> {
    return this.#pattern(this.disk);
  }

  async #pattern(path: string): Promise<number> {
    const said = await runTool("qemu-io", "-r", "-c", `read -v ${PLACE} 16`, path);
    return parseInt(/^\w+: {2}(\w\w)/m.exec(said)?.[1] ?? "", 16);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime.close();
    await Deno.remove(this.home, { recursive: true });
  }
}

/** A stream that takes nothing until it is let go. */
class HeldSink {
  readonly #chunks: Uint8Array<ArrayBuffer>[] = [];
  readonly #reached = Promise.withResolvers<void>();
  readonly #free = Promise.withResolvers<void>();
  readonly stream = new WritableStream<Uint8Array<ArrayBuffer>>({
    write: async (chunk) => {
      this.#reached.resolve();
      await this.#free.promise;
      this.#chunks.push(chunk.slice());
    },
  });

  /** Something was written to it: whoever writes has begun to read. */
  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  letGo(): void {
    this.#free.resolve();
  }

  get content(): Blob {
    return new Blob(this.#chunks);
  }
}

/** Exports a box, and does something in the middle. */
async function exportWhile(box: Box, body: () => Promise<void>): Promise<Blob> {
  const sink = new HeldSink();
  const exporting = box.export(sink.stream);
  await Promise.race([sink.reached, exporting]);
  try {
    await body();
  } finally {
    sink.letGo();
  }
  await exporting;
  return sink.content;
}

Deno.test(`Box.export gives a stopped box its disk back${note}`, { ignore }, async () => {
  await using bench = await Bench.make();
  const { ino } = await Deno.stat(bench.disk);
  const archive = await exportWhile(bench.box, () => {
    assert.equal(bench.links.length, 1);
    return Promise.resolve();
  });
  assert.equal((await Deno.stat(bench.disk)).ino, ino);
  assert.deepEqual(bench.links, []);
  assert.equal(await bench.patternIn(archive), 1);
  await bench.box.snapshots.create("kept");
  await bench.box.export(new WritableStream());
  assert.equal(bench.links.length, 1, "a snapshot was taken for the box's own disk");
  assert.equal(await bench.pattern(), 1);
});

Deno.test(`a box starts, is written to and is removed while it is exported${note}`, {
  ignore,
}, async () => {
  await using bench = await Bench.make();
  await bench.fill();
  const { box } = bench;
  const first = await exportWhile(box, async () => {
    await box.start();
    await box.stop();
    await bench.write(2);
  });
  assert.deepEqual([await bench.patternIn(first), await bench.pattern()], [1, 2]);
  const second = await exportWhile(box, async () => {
    const third = await exportWhile(box, () => Promise.resolve());
    await bench.write(3); // the one that ended first left alone what is read
    assert.equal(await bench.patternIn(third), 2);
  });
  assert.deepEqual([await bench.patternIn(second), await bench.pattern()], [2, 3]);
  const last = await exportWhile(box, () => box.remove());
  assert.equal(await bench.patternIn(last), 3);
  assert.deepEqual(bench.links, []);
});

for (const diskSwitch of [true, false]) {
  const how = diskSwitch ? "leaves its disk's file" : "has it copied";
  Deno.test(`exports of a running box that ${how} leave few links${note}`, { ignore }, async () => {
    await using bench = await Bench.make({ diskSwitch });
    const { box } = bench;
    await box.start();
    for (const pattern of [2, 3, 4, 5, 6]) {
      await bench.write(pattern);
      const archive = await exportWhile(box, () => bench.write(100 + pattern));
      assert.equal(await bench.patternIn(archive), pattern);
    }
    await box.stop();
    await bench.runtime[Symbol.asyncDispose](); // waits for what goes on behind
    assert.ok(bench.links.length <= (diskSwitch ? 2 : 0), `${bench.links}`);
    assert.equal(await bench.pattern(), 106);
  });
}

Deno.test(`an export that is killed leaves nothing for the next one${note}`, {
  ignore,
}, async () => {
  await using bench = await Bench.make();
  const { ino } = await Deno.stat(bench.disk);
  await bench.fill();
  const { box } = bench;
  // Its output is read by nobody, so it can't end.
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-prompt", "--no-check", MAIN, "export", "one"],
    env: { HUTCH_HOME: bench.home },
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  assert.equal(bench.links.length, 1);
  child.kill("SIGKILL");
  await child.status;
  await reader.cancel();
  assert.equal(await bench.pattern(), 1);
  await box.export(new WritableStream());
  assert.deepEqual(bench.links, []);
  assert.equal((await Deno.stat(bench.disk)).ino, ino);
});
