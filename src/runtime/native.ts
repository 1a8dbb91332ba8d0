/**
 * The native parts that a runtime uses: helper, agent, kernel.
 *
 * @module
 */
import { agentPath, partHint } from "../../ffi/library.ts";
import { errorText, HutchError } from "../errors.ts";
import { findLibrary, whyNotFound } from "../vmm/find.ts";

/** Names the library with the kernel. */
export const KERNEL_VARIABLE = "HUTCH_LIBKRUNFW";
const KERNEL_LIBRARIES = Deno.build.os === "darwin"
  ? ["libkrunfw.5.dylib", "libkrunfw.dylib"]
  : ["libkrunfw.so.5"];
/** Where `scripts/setup` puts what the system lacks, below hutch's cache. */
const OWN_KERNEL_LIBRARY = "tools/libkrunfw/libkrunfw.so.5";

/** Where the agent's program is; throws `part_missing` when it can't be read. */
export async function findAgent(): Promise<string> {
  const path = agentPath();
  try {
    await Deno.stat(path);
    return path;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error; // it may be there
    throw new HutchError("part_missing", `Cannot read the agent ${path}: ${errorText(error)}`, {
      hint: partHint("agent"),
      cause: error,
    });
  }
}

/** What brings the library with the kernel, on Linux; only a checkout has our scripts. */
export function kernelRemedy(): string {
  return import.meta.url.startsWith("file:") ? "scripts/setup" : "apt-get install libkrunfw5";
}

/** Where the library with the kernel is, or undefined. */
export function findKernelLibrary(): Promise<string | undefined> {
  return findLibrary(KERNEL_VARIABLE, KERNEL_LIBRARIES, [OWN_KERNEL_LIBRARY]);
}

/** Where the library with the kernel is; throws `part_missing`. */
export async function kernelLibrary(): Promise<string> {
  const path = await findKernelLibrary();
  if (path !== undefined) return path;
  throw new HutchError(
    "part_missing",
    `Cannot find the kernel in libkrunfw: ${whyNotFound(KERNEL_VARIABLE)}`,
    {
      hint: Deno.build.os === "darwin"
        ? "brew install libkrunfw"
        : `run ${kernelRemedy()}, or name it with HUTCH_LIBKRUNFW`,
    },
  );
}
