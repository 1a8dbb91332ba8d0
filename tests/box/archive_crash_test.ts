/** Imports that end in the middle: killed, cancelled, out of space. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Runtime } from "../../mod.ts";
import { boxWith, type Clusters } from "../support/box_archive.ts";
import { SmallHome } from "../support/small_home.ts";
import { TempFolder } from "../support/temp.ts";
import { until } from "../support/processes.ts";
import "../support/native.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
/** 32 MiB that don't compress. */
const CLUSTERS: Clusters = new Map(Array.from({ length: 512 }, (_, at) => [at, at + 1]));

async function archiveIn(home: string, options: { image?: boolean } = {}): Promise<string> {
  await using runtime = await Runtime.open({ home });
  const box = await boxWith(runtime, CLUSTERS);
  const path = join(home, "archive");
  await box.export(path, options);
  await box.remove();
  return path;
}

function folders(home: string): string[] {
  return [...Deno.readDirSync(join(home, "boxes"))].map(({ name }) => name);
}

/** Whether an import is writing a disk. */
function isWriting(home: string): boolean {
  return folders(home).some((id) => {
    try {
      return Deno.statSync(join(home, "boxes", id, "import.new")).size > 8 << 20;
    } catch {
      return false;
    }
  });
}

Deno.test("an import that is killed leaves nothing that the next program doesn't take away", async () => {
  await using home = new TempFolder();
  const archive = await Deno.readFile(await archiveIn(home.path));
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-prompt", MAIN, "import", "--name", "x", "-"],
    env: { HUTCH_HOME: home.path },
    stdin: "piped",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  const writing = writer.write(archive.subarray(0, archive.length * 2 / 3)).catch(() => {});
  await until(
    () => Promise.resolve(isWriting(home.path)),
    () => Promise.resolve("the import writes no disk"),
  );
  child.kill("SIGKILL");
  await child.status;
  await writing;
  await writer.close().catch(() => {});
  assert.equal(folders(home.path).length, 1);
  await using runtime = await Runtime.open({ home: home.path });
  assert.deepEqual(await runtime.list({ all: true }), []);
  assert.deepEqual(folders(home.path), []);
  const { box } = await runtime.import(new Blob([archive]).stream(), { name: "x" });
  assert.equal(box.name, "x");
});

Deno.test("an import that is cancelled, or whose sender breaks off, leaves nothing", async () => {
  await using home = new TempFolder();
  const archive = await Deno.readFile(await archiveIn(home.path));
  await using runtime = await Runtime.open({ home: home.path });
  const half = archive.subarray(0, archive.length / 2);
  const gone = new Error("the sender is gone");
  const broken = ReadableStream.from((async function* () {
    yield half;
    throw gone;
  })());
  await assert.rejects(runtime.import(broken), gone);
  const control = new AbortController();
  const stuck = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (controller) => controller.enqueue(half),
  });
  const importing = runtime.import(stuck, { signal: control.signal });
  await until(
    () => Promise.resolve(isWriting(home.path)),
    () => Promise.resolve("the import writes no disk"),
  );
  control.abort();
  await assert.rejects(importing, { code: "cancelled" });
  assert.deepEqual(folders(home.path), []);
});

Deno.test({
  name: "an import without room for it leaves nothing, and an export no half of a file",
  ignore: Deno.uid() !== 0,
  async fn() {
    await using source = new TempFolder();
    const path = await archiveIn(source.path);
    await using home = await SmallHome.make("size=24m");
    await using runtime = await Runtime.open({ home: home.path });
    await assert.rejects(runtime.import(path), { code: "no_space" });
    assert.deepEqual(folders(home.path), []);
    assert.deepEqual(await runtime.list({ all: true }), []);
    await using other = await Runtime.open({ home: source.path });
    const { box } = await other.import(path);
    const to = join(home.path, "archive");
    await assert.rejects(box.export(to), { code: "no_space" });
    assert.ok([...Deno.readDirSync(home.path)].every(({ name }) => !name.startsWith("archive")));
    assert.equal((await box.info()).status, "configured");
  },
});
