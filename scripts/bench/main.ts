/**
 * The benchmark: `deno task bench [--json] [--runs N] [GROUP]...`; the groups are archive, boot, channel,
 * copy, exec, image, interceptor, memory, network, scale, snapshot and volumes. Each figure stands
 * beside a floor measured in the same run. Inside the emulated machine with KVM (`scripts/kvm_lab`) it
 * measures libkrun, else QEMU.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { join } from "node:path";
import { Runtime } from "../../mod.ts";
import { defaultPlugins } from "../../src/runtime/defaults.ts";
import { benchArchive } from "./archive.ts";
import { benchBoot, type BootSetting } from "./boot.ts";
import { benchChannel } from "./channel.ts";
import { benchCopy } from "./copy.ts";
import { benchExec } from "./exec.ts";
import { benchImage } from "./image.ts";
import { benchInterceptor } from "./interceptor.ts";
import { benchMemory } from "./memory.ts";
import { benchNetwork } from "./network.ts";
import { benchScale } from "./scale.ts";
import { benchSnapshot } from "./snapshot.ts";
import { type Figure, line } from "./stats.ts";
import { benchVolumes } from "./volumes.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean" }, runs: { type: "string" }, engine: { type: "string" } },
});
const lab = Deno.env.get("IN_KVM_LAB") === "1";
const runs = Number(values.runs ?? (lab ? 6 : 10));
const MACHINES = "archive boot channel copy exec memory network snapshot volumes".split(" ");
const wanted = positionals.length > 0
  ? positionals
  : [...MACHINES, ...(lab ? [] : ["image", "interceptor", "scale"])];
const figures: Figure[] = [];

function report(made: readonly Figure[]): void {
  figures.push(...made);
  if (!values.json) { for (const each of made) console.log(line(each)); }
}

const folder = await Deno.makeTempDir({ prefix: "hutch-bench-" });
try {
  if (wanted.some((name) => MACHINES.includes(name))) await benchMachines();
  if (wanted.includes("interceptor")) report(await benchInterceptor(folder, runs));
  if (wanted.includes("image")) report(await benchImage(folder, Math.min(runs, 3)));
  if (wanted.includes("scale")) report(await benchScale(folder, runs));
} finally {
  await Deno.remove(folder, { recursive: true });
}
if (values.json) console.log(JSON.stringify(figures, null, 2));
if (figures.some(({ met }) => met === false)) Deno.exitCode = 1;

/** What needs a machine. */
async function benchMachines(): Promise<void> {
  const engine = values.engine ?? (lab ? "libkrun" : "qemu");
  const home = join(folder, "home");
  await using runtime = await Runtime.open({ home });
  await using booting = await Runtime.open({ home, preboot: false });
  for (let boot = 0; boot < 2; boot++) { // everything is cached from here on, a boot among it
    await using box = await runtime.create({ image: "builtin:busybox", engine, memory: 256 });
    await box.exec("true");
  }
  const found = defaultPlugins().flatMap((plugin) => plugin.engines ?? [])
    .find(({ name }) => name === engine);
  const kvm = (await runtime.doctor()).kvm;
  const probed = await found?.probe({ kvm: () => Promise.resolve(kvm), versions: false });
  if (!probed?.usable) throw new Error(`engine ${engine} can't run here`);
  const setting: BootSetting = {
    runtime,
    booting,
    engine,
    runs,
    lab,
    bare: {
      id: "bare",
      cpus: 1,
      memoryMiB: 256,
      consolePath: join(folder, "console.log"),
      channelPath: join(folder, "guest"),
      controlPath: join(folder, "control"),
      folder,
      engine: probed.parts,
    },
  };
  if (wanted.includes("archive")) report(await benchArchive(setting));
  if (wanted.includes("boot")) report(await benchBoot(setting));
  if (wanted.includes("channel")) report(await benchChannel(setting));
  if (wanted.includes("network")) report(await benchNetwork(setting));
  if (wanted.includes("volumes")) report(await benchVolumes(setting));
  if (wanted.includes("copy")) report(await benchCopy(setting));
  if (wanted.includes("exec")) report(await benchExec(setting));
  if (wanted.includes("memory")) report(await benchMemory(setting));
  if (wanted.includes("snapshot")) report(await benchSnapshot(setting));
}
