/**
 * Checks the types of the examples in doc comments and guides, each as a program of its own, the
 * way a reader would try it.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** An example, and where it stands. */
export interface Example {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

const GUIDES = ["README.md", "plugins/README.md"];
const FENCE = /^([ \t]*(?:\* ?)?)```ts\n([^]*?)^\1```$/gm;

/** The examples of a file that import hutch, as programs at the project's root. */
export function examplesOf(file: string, content: string): Example[] {
  return [...content.matchAll(FENCE)].map((match) => {
    const [, margin = "", body = ""] = match;
    const text = body.split("\n").map((line) =>
      line.startsWith(margin) ? line.slice(margin.length) : line.slice(margin.trimEnd().length)
    ).join("\n");
    return { file, line: content.slice(0, match.index).split("\n").length, text };
  }).filter(({ text }) => /from "\.{1,2}\/mod\.ts"/.test(text));
}

function* sourcesBelow(root: string, folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(join(root, folder))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* sourcesBelow(root, path);
    else if (path.endsWith(".ts")) yield path;
  }
}

/** All examples of the project that are programs, in guides and comments. */
export function allExamples(): Example[] {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  const files = [
    ...["mod.ts", ...GUIDES],
    ...["src", "ffi", "plugins"].flatMap((folder) => [...sourcesBelow(root, folder)]),
  ];
  return files.flatMap((file) => examplesOf(file, Deno.readTextFileSync(join(root, file))));
}

/**
 * Writes examples as programs into a folder, and gives their paths. `mod.ts` is the project's wherever an
 * example stands; other modules are its file's neighbours.
 */
export function writeExamples(folder: string, examples: readonly Example[]): string[] {
  return examples.map(({ file, line, text }) => {
    const path = join(folder, `${file.replaceAll(/[/.]/g, "_")}_${line}.ts`);
    Deno.writeTextFileSync(path, `${withAbsoluteImports(text, file)}\nexport {};\n`);
    return path;
  });
}

function withAbsoluteImports(text: string, file: string): string {
  const root = new URL("../", import.meta.url);
  return text.replaceAll(/ from "(\.{1,2}\/[^"]+)"/g, (_, specifier: string) => {
    const url = specifier.endsWith("/mod.ts")
      ? new URL("mod.ts", root)
      : new URL(specifier, new URL(file, root));
    return ` from ${JSON.stringify(url.href)}`;
  });
}

async function main(): Promise<number> {
  const examples = allExamples();
  const folder = Deno.makeTempDirSync({ prefix: "hutch-examples-" });
  try {
    const paths = writeExamples(folder, examples);
    // Without the project's options: what an example leaves unused is for its reader.
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: ["check", "--quiet", "--no-config", ...paths],
    }).spawn().status;
    console.log(`${examples.length} examples ${success ? "have right types" : "were checked"}`);
    return success ? 0 : 1;
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await main());
