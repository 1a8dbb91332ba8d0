/**
 * A program that keeps a box's memory in the home `HUTCH_HOME`, makes boxes that go on from it and removes
 * it, and ends itself by SIGKILL at the {@link CrashPoints | point} that its argument names. Without one it
 * prints all points.
 *
 * @module
 */
import { CrashPoints } from "./points.ts";

const [at] = Deno.args;
const home = Deno.env.get("HUTCH_HOME") ?? "";
const points = new CrashPoints({ at, folders: [home] });
points.wrapFiles();
points.wrapState();
const { Runtime } = await import("../../mod.ts");
const { engineDouble } = await import("../doubles/engine.ts");
const { DOUBLE_BOX } = await import("../doubles/home.ts");

const runtime = await Runtime.open({
  home,
  plugins: [engineDouble({ overlay: true, diskSwitch: true, memory: true })],
});
points.deed("create");
const box = await runtime.create({ ...DOUBLE_BOX, name: "warm" });
points.deed("start");
await box.start();
await points.play([
  ["kept", () => box.snapshots.create("m1", { memory: true })],
  ["again", () => box.snapshots.create("m2", { memory: true })],
  ["forked", () => runtime.create({ from: "warm/m1", name: "fork" })],
  ["gone on", async () => await (await runtime.get("fork")).start()],
  ["another", () => runtime.create({ from: "warm/m2", name: "other" })],
  ["removed", () => box.snapshots.remove("m1")],
  ["restored", () => box.snapshots.restore("m2", { stop: true })],
  ["gone", () => box.remove({ force: true })],
]);
points.deed("close");
await runtime.close();
console.log(JSON.stringify(points.passed));
