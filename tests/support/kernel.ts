/**
 * The guest's kernel, for tests that boot a machine of their own.
 *
 * @module
 */
import { readKernel } from "../../ffi/helper.ts";
import { findKernelLibrary } from "../../src/runtime/native.ts";
import { kernelPath } from "../../src/vmm/kernel.ts";

/** A kernel file made from the machine's libkrunfw, which goes with the test; undefined without. */
export async function testKernel(): Promise<string | undefined> {
  const library = await findKernelLibrary();
  if (library === undefined) return undefined;
  const folder = await Deno.makeTempDir({ prefix: "hutch-kernel-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  return await kernelPath(folder, library, readKernel);
}
