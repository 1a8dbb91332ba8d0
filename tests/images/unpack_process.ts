/**
 * Makes a base disk of one layer in a process of its own, and says what that took, as JSON:
 * `unpack_process.ts BLOB MEDIA-TYPE DIFF-ID OUTPUT`.
 *
 * @module
 */
import { buildBaseDisk } from "../../src/images/base_disk/unpack.ts";

/** What it prints. */
export interface Cost {
  /** Most memory that was resident at once, in KiB. */
  readonly memoryKiB: number;
  /** Processor time of the main thread and of all threads, in ticks of the kernel. */
  readonly mainTicks: number;
  readonly allTicks: number;
}

function ticks(path: string): number {
  const fields = Deno.readTextFileSync(path).replace(/^.*\) /, "").split(" ");
  return Number(fields[11]) + Number(fields[12]); // in user mode and in the kernel
}

const MAIN = `/proc/self/task/${Deno.pid}/stat`;
const ALL = "/proc/self/stat";

if (import.meta.main) {
  const [path = "", mediaType = "", diffId = "", output = ""] = Deno.args;
  const [main, all] = [ticks(MAIN), ticks(ALL)];
  await buildBaseDisk({
    layers: [{ path, mediaType, diffId }],
    uuidFrom: "sha256:1",
    output,
    signal: new AbortController().signal,
  });
  const status = Deno.readTextFileSync("/proc/self/status");
  const cost: Cost = {
    memoryKiB: Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1]),
    mainTicks: ticks(MAIN) - main,
    allTicks: ticks(ALL) - all,
  };
  console.log(JSON.stringify(cost));
}
