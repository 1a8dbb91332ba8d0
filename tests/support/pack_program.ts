/**
 * A program that reads a folder as the source `dir` does, for tests that need other rights or mounts:
 * it prints what it left out, then the names in the tar, or the error.
 *
 * @module
 */
import { packFolder } from "../../mod.ts";

const [path = "", names = ""] = Deno.args;
try {
  using packed = await packFolder(path);
  const file = await Deno.open(names, { write: true, create: true });
  await packed.stream(new AbortController().signal).pipeTo(file.writable);
  console.log(JSON.stringify(packed.leftOut));
} catch (error) {
  console.log(String(error));
}
