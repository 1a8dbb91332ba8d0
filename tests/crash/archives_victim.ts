/**
 * A program that makes images of a box in the home `HUTCH_HOME`, exports it into a file, imports that, also
 * into a home that has nothing yet, and ends itself by SIGKILL at the {@link CrashPoints | point} that its
 * argument names. Without one it prints all points.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { CrashPoints } from "./points.ts";

const [at] = Deno.args;
const home = Deno.env.get("HUTCH_HOME") ?? "";
const points = new CrashPoints({ at, folders: [home] });
const { readFileSync, writeFileSync } = await import("node:fs");
points.wrapFiles();
points.wrapContents();
points.wrapState();
const { Runtime } = await import("../../mod.ts");
const { engineDouble } = await import("../doubles/engine.ts");
const { DOUBLE_BOX } = await import("../doubles/home.ts");
const { boxWith, CLUSTER } = await import("../support/box_archive.ts");
const { runTool } = await import("../support/tools.ts");

const plugins = [engineDouble({ overlay: true, diskSwitch: true })];
const runtime = await Runtime.open({ home, plugins });
points.deed("create");
const box = await boxWith(runtime, await written(), { name: "first", engine: DOUBLE_BOX.engine });
const archive = `${home}/out/first.hutch`;
Deno.mkdirSync(`${home}/out`);

await points.play([
  ["committed", () => box.commit("team/app:1")],
  ["exported", () => box.export(archive)],
  ["imported", () => runtime.import(archive, { name: "imported" })],
  ["moved", async () => {
    await using other = await Runtime.open({ home: `${home}/other`, plugins });
    await other.import(archive);
  }],
  ["started", () => box.start()],
  ["recommitted", () => box.commit("team/app:1", { config: { cmd: ["two"] } })],
  ["replaced", () => box.export(archive, { image: false })],
  ["stop", () => box.stop()],
]);
points.deed("close");
await runtime.close();
console.log(JSON.stringify(points.passed));

/** What the image's disk hasn't, once a program has written to it: its file system has two files more. */
async function written(): Promise<Map<number, Uint8Array<ArrayBuffer>>> {
  const [base = ""] = [...Deno.readDirSync(`${home}/disks`)].map(({ name }) => name);
  const disk = `${home}/written.ext4`;
  await runTool("cp", "--sparse=always", `${home}/disks/${base}`, disk);
  writeFileSync(`${home}/random`, crypto.getRandomValues(new Uint8Array(50_000)));
  writeFileSync(`${home}/commands`, `write ${home}/random random\nwrite ${home}/commands two\n`);
  await runTool("debugfs", "-w", "-f", `${home}/commands`, disk);
  const [before, after] = [readFileSync(`${home}/disks/${base}`), readFileSync(disk)];
  writeFileSync(`${home}/sha256`, createHash("sha256").update(after).digest("hex"));
  const clusters = new Map<number, Uint8Array<ArrayBuffer>>();
  for (let at = 0; at < after.length; at += CLUSTER) {
    if (before.subarray(at, at + CLUSTER).equals(after.subarray(at, at + CLUSTER))) continue;
    const bytes = new Uint8Array(CLUSTER);
    bytes.set(after.subarray(at, at + CLUSTER));
    clusters.set(at / CLUSTER, bytes);
  }
  return clusters;
}
