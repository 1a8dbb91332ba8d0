/**
 * A program that does random things to the boxes `one` and `two` of the home `HUTCH_HOME`, while another
 * one does so too. Each has to work, or to be refused as something is that somebody else has changed.
 * Prints how often each worked; its arguments are a seed and a number of steps.
 *
 * @module
 */
import { type Box, HutchError, Runtime } from "../../mod.ts";
import { BOX } from "../crash/box.ts";
import { fc } from "../deps.ts";
import { engineDouble } from "../doubles/engine.ts";

/** What may become of a deed when another program does one at the same time. */
const RACED = [
  ...["box_state", "box_not_found", "connection_lost", "boot_failed", "name_taken"],
  "cancelled", // nobody waits for ever
];

const DEEDS: Readonly<Record<string, (box: Box) => PromiseLike<unknown>>> = {
  start: (box) => box.start(),
  // The other one may have it stand still in that moment, and end.
  exec: (box) => box.exec("echo", ["here"], { signal: AbortSignal.timeout(5_000) }),
  stop: (box) => box.stop(),
  kill: (box) => box.kill(),
  restart: (box) => box.restart(),
  pause: (box) => box.pause(),
  resume: (box) => box.resume(),
  wait: (box) => box.wait({ for: ["running", "stopped"], signal: AbortSignal.timeout(50) }),
  look: (box) => Promise.all([box.info(), box.metrics(), runtime.list({ all: true })]),
  rename: (box) => box.rename(box.name === "one" ? "two" : "one"),
  label: (box) => box.update({ labels: { seen: box.name } }),
  resize: (box) => box.update({ memory: 192 }),
  remove: (box) => box.remove(),
  force: (box) => box.remove({ force: true }),
};

const [seed = "1", steps = "20"] = Deno.args;
const moves = fc.sample(
  fc.record({ name: fc.constantFrom("one", "two"), deed: fc.constantFrom(...Object.keys(DEEDS)) }),
  { seed: Number(seed), numRuns: Number(steps) },
);
const worked: Record<string, number> = {};
const runtime = await Runtime.open({ plugins: [engineDouble({ overlay: true })] });
{
  await using _open = runtime;
  for (const { name, deed } of moves) {
    console.error(`${deed} ${name}`);
    try {
      const box = await runtime.getOrCreate({ ...BOX, name, detached: true });
      await DEEDS[deed]?.(box);
      worked[deed] = (worked[deed] ?? 0) + 1;
    } catch (error) {
      if (!(error instanceof HutchError) || !RACED.includes(error.code)) throw error;
      console.error(`  ${error.message}`);
    }
  }
}
console.log(JSON.stringify(worked));
