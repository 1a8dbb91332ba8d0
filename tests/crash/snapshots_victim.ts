/**
 * A program that takes, removes and restores snapshots in the home `HUTCH_HOME`, clones a box and exports
 * it, and ends itself by SIGKILL at the {@link CrashPoints | point} that its argument names. Without one it
 * prints all points. Between its deeds it writes a pattern to the box's disk, and says so in a file.
 *
 * @module
 */
import { CrashPoints } from "./points.ts";

const [at] = Deno.args;
const home = Deno.env.get("HUTCH_HOME") ?? "";
const points = new CrashPoints({ at, folders: [home] });
const { writeFileSync } = await import("node:fs");
points.wrapFiles();
points.wrapState();
const { Runtime } = await import("../../mod.ts");
const { engineDouble } = await import("../doubles/engine.ts");
const { DOUBLE_BOX } = await import("../doubles/home.ts");
const { boxWith } = await import("../support/box_archive.ts");
const { FileLock } = await import("../../src/file_lock.ts");

const runtime = await Runtime.open({
  home,
  plugins: [engineDouble({ overlay: true, diskSwitch: true })],
});
points.deed("create");
const box = await boxWith(runtime, new Map(), { name: "first", engine: DOUBLE_BOX.engine });
points.deed("start");
await box.start();
points.deed("stop");
await box.stop();
let count = 0;

/** Writes the next pattern to a block of its own. */
async function write(): Promise<void> {
  count += 1;
  using _held = await FileLock.acquire(`${home}/boxes/${box.id}/operation.lock`);
  const { success } = await new Deno.Command("qemu-io", {
    args: ["-c", `write -P ${count} ${count}M 64k`, `${home}/boxes/${box.id}/disk.qcow2`],
    stdout: "null",
  }).output();
  if (!success) throw new Error("qemu-io failed");
  writeFileSync(`${home}/written`, String(count)); // not by Deno: it is no point
}

const deeds: readonly (readonly [string, () => Promise<unknown>])[] = [
  ["stopped", () => box.snapshots.create("s1")],
  ["started", async () => {
    await box.start();
    await box.export(new WritableStream());
    await box.snapshots.create("s2");
    await box.stop();
  }],
  ["cloned", () => box.clone({ name: "copy", count: 2 })],
  ["third", async () => {
    await box.export(new WritableStream());
    await box.snapshots.create("s3");
  }],
  ["removed", () => box.snapshots.remove("s1")],
  ["restored", () => box.snapshots.restore("s2")],
  ["forced", () => box.snapshots.restore("s3", { force: true })],
];
for (const [name, deed] of deeds) {
  points.deed("write");
  await write();
  points.deed(name);
  await deed();
}
points.deed("gone");
await box.remove();
points.deed("close");
await runtime.close();
console.log(JSON.stringify(points.passed));
