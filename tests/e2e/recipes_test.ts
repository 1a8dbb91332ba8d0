import assert from "node:assert/strict";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { readmeSection } from "../support/readme.ts";
import { ROOT, TEST_ENGINE, withHome } from "./support.ts";

/** What each of the README's recipes prints, by its heading. */
const PRINTS: readonly (readonly [heading: string, prints: RegExp])[] = [
  [
    "Run code that nobody has looked at",
    /^\S+ true \[ "6 times 7 is 42", "65534", "" \]\nlimit_exceeded\n$/,
  ],
  [
    "Build in a box, with a cache that stays",
    /^1 building BUILT HERE\n\n2 from the cache BUILT HERE\n\n$/,
  ],
  ["A web server with a published port", /^hello\n\n$/],
  ["A pool of boxes for tests", /^passes ok\nfails FAILED\nleaves nothing ok\n$/],
  [
    "A plugin that audits",
    /^asked audited true\n(?:exited true 0\n)?asked audited reboot\n[^]*nobody reboots\n(?:exited true 0\n)?$/,
  ],
];

// Nothing in them depends on the engine.
Deno.test({
  name: "the README's recipes print what they are to",
  ignore: TEST_ENGINE !== "qemu",
  fn: (test) =>
    withHome(async (home) => {
      const [, ...recipes] = (await readmeSection("Recipes")).split("\n### ");
      assert.deepEqual(
        recipes.map((text) => text.split("\n", 1)[0]),
        PRINTS.map(([heading]) => heading),
      );
      for (const [index, [heading, prints]] of PRINTS.entries()) {
        await test.step(heading, async () => {
          const [, text = ""] = /```ts\n(.*?)```/s.exec(recipes[index] ?? "") ?? [];
          const path = join(home, `recipe${index}.ts`);
          const root = pathToFileURL(`${ROOT}/`).href;
          await Deno.writeTextFile(path, text.replaceAll(' from "./', ` from "${root}`));
          const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
            args: ["run", "-A", "--quiet", "--no-check", path],
            env: { HUTCH_HOME: home, NO_COLOR: "1" },
          }).output();
          const decoder = new TextDecoder();
          assert.equal(code, 0, decoder.decode(stderr));
          assert.match(decoder.decode(stdout), prints);
        });
      }
    }),
});
