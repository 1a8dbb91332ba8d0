/**
 * A program that pulls an image: `pull_memory_process.ts HOME REFERENCE`. Prints how much memory it had
 * at most, in bytes.
 *
 * @module
 */
import { imageStore } from "../support/image_store.ts";

const [home = "", reference = ""] = Deno.args;
await imageStore(home).pull(reference);
const kib = /^VmHWM:\s*(\d+) kB$/m.exec(Deno.readTextFileSync("/proc/self/status"))?.[1];
console.log(Number(kib) * 1024);
