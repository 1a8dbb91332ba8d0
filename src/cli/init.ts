/**
 * `hutch init`.
 *
 * @module
 */
import { join, resolve } from "node:path";
import type { Command } from "../deps.ts";
import { errorText, HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] [FOLDER]")
    .argument("[FOLDER]", "where to; made if needed (default: the working folder)");
}

/** Writes a script and a configuration to begin with, or nothing where one is there. */
export async function run({ args: [folder = "."], io }: Invocation): Promise<number> {
  const files = startingFiles(import.meta.resolve("../../mod.ts"));
  const written: string[] = [];
  try {
    await Deno.mkdir(folder, { recursive: true });
    for (const [name, text] of files) {
      const path = join(folder, name);
      await Deno.writeTextFile(path, text, { createNew: true });
      written.push(path);
    }
  } catch (error) {
    for (const path of written) await Deno.remove(path);
    const there = error instanceof Deno.errors.AlreadyExists;
    const why = there
      ? `there is a ${files.find(([name]) => !written.includes(join(folder, name)))?.[0]} already`
      : errorText(error);
    throw new HutchError("invalid_option", `Cannot begin in ${resolve(folder)}: ${why}`, {
      ...there
        ? { hint: "hutch overwrites nothing: choose another folder (hutch init FOLDER)" }
        : {},
      cause: error,
    });
  }
  await print(
    io.stdout,
    written.map((path) => `wrote ${path}\n`).join("") +
      `run it: deno run -A ${written[0]}\n`,
  );
  return 0;
}

/** The files by their names; they import hutch from `mod`. */
function startingFiles(mod: string): readonly (readonly [name: string, text: string])[] {
  const specifier = JSON.stringify(mod);
  return [
    [
      "box.ts",
      `import { loadConfig, Runtime } from ${specifier};

// The runtime keeps images and boxes in ~/.hutch; the box goes when the script ends.
await using runtime = await Runtime.open(await loadConfig());
await using box = await runtime.create({ image: "builtin:busybox" });

const { stdout } = await box.exec("uname", ["-sr"]);
console.log(stdout.trimEnd());
await box.sh\`echo \${"it's quoted"} > /tmp/note\`;
console.log(await box.sh\`cat /tmp/note\`.text());
`,
    ],
    [
      "hutch.config.ts",
      `import { defineConfig } from ${specifier};

// What every box gets that says nothing else, from scripts here and from \`hutch run\`.
export default defineConfig({
  defaults: { cpus: 1, memory: "256m" },
  plugins: [],
});
`,
    ],
  ];
}
