/**
 * Whether KVM really runs guests. `/dev/kvm` may open and create machines while every instruction
 * is emulated, and ordinary kernels hang; a countdown of a one-page guest tells them apart.
 *
 * @module
 */
import { writeAtomically } from "../atomic_file.ts";
import type { KvmReport } from "./engine.ts";

/** A KVM that works needs 0.1 to 1 ms; one that emulates was seen to need 88 ms, and more. */
const LIMIT_MS = 20;

/** Asks the kernel of this machine, without remembering. */
export async function probeKvm(
  countDown: (limitMs: number) => Promise<{ error: string | undefined; ms: number }>,
): Promise<KvmReport> {
  if (Deno.build.os !== "linux") {
    return { usable: Deno.build.os === "darwin", problem: "KVM is a part of Linux" };
  }
  const { error, ms } = await countDown(LIMIT_MS);
  switch (error) {
    case undefined:
      return { usable: true, ms };
    case "ETIMEDOUT":
      return {
        usable: false,
        ms,
        problem:
          `/dev/kvm opens but emulates every instruction (the probe was stopped after ${LIMIT_MS} ms)`,
        remedy: "use a machine with hardware virtualisation, or nested virtualisation switched on",
      };
    case "ENOENT":
      return {
        usable: false,
        problem: "there is no /dev/kvm",
        remedy: "switch virtualisation on in the firmware and load the module kvm_intel or kvm_amd",
      };
    case "EACCES":
    case "EPERM":
      return {
        usable: false,
        problem: "/dev/kvm may not be opened by this user",
        remedy: `usermod -aG kvm ${Deno.env.get("USER") ?? "$USER"}, then log in again`,
      };
    default:
      return { usable: false, problem: `/dev/kvm answers ${error}` };
  }
}

/**
 * The report for this boot of this machine: from `path` if it is there, else by `probe`.
 *
 * @param path A small file that remembers the report together with the boot id.
 */
export async function rememberedKvm(
  path: string,
  bootId: string,
  probe: () => Promise<KvmReport>,
): Promise<KvmReport> {
  const known = await read(path, bootId);
  if (known) return known;
  const report = await probe();
  await writeAtomically(path, JSON.stringify({ bootId, report }));
  return report;
}

async function read(path: string, bootId: string): Promise<KvmReport | undefined> {
  try {
    const known = JSON.parse(await Deno.readTextFile(path));
    return known.bootId === bootId && typeof known.report?.usable === "boolean"
      ? known.report
      : undefined;
  } catch {
    return undefined; // not there, or half-written by an older version: probe again
  }
}

/** What changes with every boot of the host; empty where it can't be known. */
export async function bootId(): Promise<string> {
  try {
    return (await Deno.readTextFile("/proc/sys/kernel/random/boot_id")).trim();
  } catch {
    return "";
  }
}
