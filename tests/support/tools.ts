/**
 * Programs that tests use and the product doesn't.
 *
 * @module
 */
import { join } from "node:path";

/** Those of the programs that this machine lacks. */
export function missingTools(...names: readonly string[]): readonly string[] {
  const folders = [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/sbin"];
  return names.filter((name) => !folders.some((folder) => isFile(join(folder, name))));
}

/** For a test's `ignore` and name: whether it can't run, and what its name gets then. */
export function needs(...names: readonly string[]): { ignore: boolean; note: string } {
  const missing = missingTools(...names);
  return missing.length === 0
    ? { ignore: false, note: "" }
    : { ignore: true, note: ` (needs ${missing.join(", ")})` };
}

/** Runs a program to its end and gives its output; throws with what it said when it fails. */
export async function runTool(name: string, ...args: readonly string[]): Promise<string> {
  const output = await new Deno.Command(name, { args: [...args], stdin: "null" }).output();
  if (output.success) return new TextDecoder().decode(output.stdout);
  const said = new TextDecoder().decode(output.stderr);
  throw new Error(`${name} ${args.join(" ")} failed with ${output.code}: ${said}`);
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
