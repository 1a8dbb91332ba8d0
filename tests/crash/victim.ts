/**
 * A program that plays a box's whole life in the home `HUTCH_HOME`, and ends itself by SIGKILL at the
 * {@link CrashPoints | point} that its second argument names. Without one it prints all points.
 *
 * @module
 */
import { CrashPoints } from "./points.ts";

const [life = "", at] = Deno.args;
const home = Deno.env.get("HUTCH_HOME") ?? "";
const points = new CrashPoints({ at, folders: [home, `/tmp/hutch-${Deno.uid() ?? 0}`] });
points.wrapFiles();
points.wrapState();
// After the wrapping: what they take from Deno is wrapped by then.
const { definePlugin, Runtime } = await import("../../mod.ts");
const { engineDouble } = await import("../doubles/engine.ts");
const { BOX, STAGES } = await import("./box.ts");

// First of all plugins: the double answers some stages without asking those after it.
const boundaries = definePlugin({
  name: "boundaries",
  stages: Object.fromEntries(STAGES.map((stage) => [stage, {
    before: () => points.reach(`before stage ${stage}`),
    after: () => points.reach(`after stage ${stage}`),
  }])),
});
const runtime = await Runtime.open({
  home,
  plugins: [boundaries, engineDouble({ overlay: true })],
});
if (life === "named") {
  points.deed("create");
  // A policy, so that there are rows of a keeper too.
  const box = await runtime.create({
    ...BOX,
    name: "first",
    labels: { a: "1" },
    restart: "always",
  });
  await play([
    ["start", () => box.start()],
    ["exec", () => box.exec("echo", ["here"])],
    ["pause", () => box.pause()],
    ["resume", () => box.resume()],
    ["rename", () => box.rename("second")],
    ["label", () => box.update({ labels: { a: "2" } })],
    ["stop", () => box.stop()],
    ["resize", () => box.update({ memory: 192 })],
    ["again", () => box.start()],
    ["restart", () => box.restart()],
    ["kill", () => box.kill()],
    ["remove", () => box.remove()],
  ]);
} else {
  points.deed("create");
  const owned = await runtime.create({ ...BOX, autoRemove: true });
  const force = await runtime.create({ ...BOX, autoRemove: true });
  await play([
    ["start", () => Promise.all([owned.start(), force.start()])],
    ["exec", () => owned.exec("echo", ["here"])],
    ["force", () => force.remove({ force: true })],
    ["dispose", () => owned[Symbol.asyncDispose]()],
  ]);
}
points.deed("close");
await runtime.close();
console.log(JSON.stringify(points.passed));

async function play(deeds: readonly (readonly [string, () => PromiseLike<unknown>])[]) {
  for (const [name, deed] of deeds) {
    points.deed(name);
    await deed();
  }
}
