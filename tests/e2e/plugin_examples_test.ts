import assert from "node:assert/strict";
import { join } from "node:path";
import { DebianRepository, REPOSITORY_TOOLS } from "../plugins/debian_repository.ts";
import { needs } from "../support/tools.ts";
import { ROOT, TEST_ENGINE, withHome } from "./support.ts";

/** Nothing here depends on the engine, and the lab is slow. */
const elsewhere = TEST_ENGINE !== "qemu";

/** The first example in a file of `plugins/`, as a program that runs anywhere. */
async function exampleIn(name: string): Promise<string> {
  const text = await Deno.readTextFile(join(ROOT, "plugins", name));
  const example = /```ts\n(.*?)```/s.exec(text.replaceAll(/^ \* ?/gm, ""))?.[1];
  assert.ok(example, `${name} has no example`);
  return example.replace('"../mod.ts"', JSON.stringify(join(ROOT, "mod.ts")))
    .replaceAll(
      /from "\.\/(\w+\.ts)"/g,
      (_, file) => `from ${JSON.stringify(join(ROOT, "plugins", file))}`,
    );
}

/** Runs an example in a home of its own and gives what it prints. */
async function run(name: string, env: Readonly<Record<string, string>> = {}): Promise<string> {
  let printed = "";
  await withHome(async (home) => {
    const path = join(home, "example.ts");
    await Deno.writeTextFile(path, await exampleIn(name));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--check", path],
      env: { HUTCH_HOME: home, NO_COLOR: "1", ...env },
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    printed = new TextDecoder().decode(stdout);
  });
  return printed;
}

const EXAMPLES: readonly [file: string, prints: RegExp][] = [
  ["README.md", /^hostname gave 0\npolite\n\n$|^polite\n\nhostname gave 0\n$/],
  ["audit.ts", /"event":"exec\.asked".*\n.*"event":"exec\.exited".*"code":0.*\n/s],
  ["metrics.ts", /^hutch_boxes_total\{event="started"\} 1$/m],
  [
    "policy.ts",
    /rule "images" doesn't allow registry:docker\.io\/library\/debian:12 \(plugin "policy"/,
  ],
  ["warm_pool.ts", /^at once\n\n$/],
];

for (const [file, prints] of EXAMPLES) {
  Deno.test(`the example of plugins/${file} prints what a reader expects`, {
    ignore: elsewhere,
  }, async () => {
    assert.match(await run(file), prints);
  });
}

const { ignore, note } = needs(...REPOSITORY_TOOLS);
Deno.test(`the example of plugins/debian.ts prints what a reader expects${note}`, {
  ignore: ignore || elsewhere,
}, async () => {
  await using repository = await DebianRepository.start();
  const printed = await run("debian.ts", { DEBIAN_MIRROR: repository.line });
  assert.match(printed, /^bin\n(?:.*\n)*etc\n/);
});
