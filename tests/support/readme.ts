/**
 * What tests take from the README, so that it says what is so.
 *
 * @module
 */
import assert from "node:assert/strict";

const README = new URL("../../README.md", import.meta.url);

/** A section's text, by its heading. */
export async function readmeSection(heading: string): Promise<string> {
  const text = await Deno.readTextFile(README);
  const [, rest] = text.split(`\n## ${heading}\n`);
  assert.ok(rest !== undefined, `the README has no section ${heading}`);
  return rest.split("\n## ")[0] ?? "";
}

/**
 * The flags that the README gives a script on QEMU, read by a shell as a reader's shell does.
 *
 * @param variables What the block's first line says, for the test.
 */
export async function permissionFlags(
  variables: Readonly<Record<"home" | "sockets" | "cache" | "checkout", string>>,
): Promise<string[]> {
  const section = await readmeSection("Permissions");
  const [, block = ""] = /```sh\n(.*?)```/s.exec(section) ?? [];
  const [first = "", ...lines] = block.split("\n");
  const named = [...first.matchAll(/(\w+)=/g)].map(([, name]) => name);
  assert.deepEqual(named, Object.keys(variables), "the block's first line");
  const command = lines.join("\n");
  assert.match(command, /^deno run [^]* script\.ts\n$/);
  const { stdout, success } = await new Deno.Command("sh", {
    args: ["-c", command.replace("deno run", "printf '%s\\n'").replace(" script.ts", "")],
    env: { ...variables },
  }).output();
  assert.ok(success);
  return new TextDecoder().decode(stdout).trimEnd().split("\n")
    .map((flag) => flag.replaceAll("//", "/"));
}
