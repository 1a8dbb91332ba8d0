/**
 * Holds what commands print with `--json` against the types that say so.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { TempFolder } from "./temp.ts";

/** What a command printed; `name` is its key in `JsonOutput`. */
export interface Printed {
  readonly name: string;
  readonly text: string;
}

/** Fails unless each is of its type: nothing is missing, and nothing is there that isn't documented. */
export async function assertShapes(all: readonly Printed[]): Promise<void> {
  await using folder = new TempFolder();
  const mod = JSON.stringify(new URL("../../mod.ts", import.meta.url).href);
  const documents = all.flatMap(({ name, text }) => {
    const parts = name.endsWith(" (line)") ? text.trimEnd().split("\n") : [text];
    return parts.map((part) => {
      JSON.parse(part);
      // As a literal: the compiler refuses fields that its type hasn't.
      return `export const _${
        crypto.randomUUID().replaceAll("-", "")
      }: JsonOutput["${name}"] = ${part};`;
    });
  });
  const path = join(folder.path, "shapes.ts");
  await Deno.writeTextFile(
    path,
    [`import type { JsonOutput } from ${mod};`, ...documents].join("\n"),
  );
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "check",
      "--quiet",
      "--config",
      join(import.meta.dirname ?? "", "../../deno.json"),
      path,
    ],
    env: { NO_COLOR: "1" },
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
}
