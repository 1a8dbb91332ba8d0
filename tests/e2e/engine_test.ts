import { join } from "node:path";
import type { KvmReport } from "../../mod.ts";
import { probeKvm as countDown } from "../../ffi/helper.ts";
import { libkrun } from "../../plugins/engines/libkrun.ts";
import { qemu } from "../../plugins/engines/qemu.ts";
import { KERNEL_COMMAND_LINE } from "../../src/vmm/kernel.ts";
import { probeKvm } from "../../src/vmm/kvm.ts";
import { engineContract } from "../contracts/engine.ts";
import { makeHome, TEST_ENGINE } from "./support.ts";

const plugin = TEST_ENGINE === "libkrun"
  ? libkrun()
  : qemu({ accelerator: TEST_ENGINE === "qemu-kvm" ? "kvm" : "tcg" });
const [engine] = plugin.engines ?? [];
if (!engine) throw new Error(`no engine for HUTCH_TEST_ENGINE=${TEST_ENGINE}`);

let home: Promise<string> | undefined;

engineContract(TEST_ENGINE, engine, kvm, async () => {
  home ??= makeHome();
  const folder = await home;
  const find = (where: string, pattern: RegExp) => {
    for (const { name } of Deno.readDirSync(join(folder, where))) {
      if (pattern.test(name)) return join(folder, where, name);
    }
    throw new Error(`nothing like ${pattern} in ${where}`);
  };
  return {
    kernelPath: find("system", /^kernel-.*\.elf$/),
    commandLine: KERNEL_COMMAND_LINE,
    systemDisk: find("system", /^system-.*\.ext4$/),
    baseDisk: find("disks", /\.ext4$/),
  };
});

Deno.test("the home of the engine suite goes", async () => {
  if (home) await Deno.remove(await home, { recursive: true });
});

function kvm(): Promise<KvmReport> {
  return probeKvm(countDown);
}
