/**
 * A program that makes the chain of the box in the home `HUTCH_HOME` longer than it may be, so that it is
 * flattened, removes a snapshot in its middle and restores one, and ends itself by SIGKILL at the
 * {@link CrashPoints | point} that its argument names. Without one it prints all points.
 *
 * @module
 */
import type { Box } from "../../mod.ts";
import { CrashPoints } from "./points.ts";

const [at] = Deno.args;
const home = Deno.env.get("HUTCH_HOME") ?? "";
const points = new CrashPoints({ at, folders: [home] });
points.wrapFiles();
points.wrapContents();
points.wrapState();
const { Runtime } = await import("../../mod.ts");
const { engineDouble } = await import("../doubles/engine.ts");

const deeds: readonly (readonly [string, (box: Box) => Promise<unknown>])[] = [
  ["flattened", (box) => box.snapshots.create("last")],
  ["removed", (box) => box.snapshots.remove("s10")],
  ["restored", (box) => box.snapshots.restore("s5", { force: true })],
];
for (const [name, deed] of deeds) {
  points.deed("open");
  // Its end waits for what is done in the background.
  await using runtime = await Runtime.open({ home, plugins: [engineDouble({ overlay: true })] });
  const box = await runtime.get("first");
  points.deed(name);
  await deed(box);
}
console.log(JSON.stringify(points.passed));
