/**
 * The examples of doc comments, run: all that boot nothing, and some of the others (all in the soak).
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { allExamples, type Example, writeExamples } from "../../scripts/examples.ts";
import { TempFolder } from "../support/temp.ts";
import type { ExampleResult } from "./examples_program.ts";
import { TEST_ENGINE, withHome } from "./support.ts";

/** One in so many of those that boot a box is run; `EXAMPLES_SEED` names other ones. */
const EVERY = Number(Deno.env.get("EXAMPLES_EVERY") ?? 4);
const SEED = Number(Deno.env.get("EXAMPLES_SEED") ?? 0);
/** What isn't run. */
const ELSEWHERE: readonly (readonly [why: string, is: (example: Example) => boolean])[] = [
  ["guides have tests of their own", ({ file }) => file.endsWith(".md")],
  ["so have plugins", ({ file }) => /^plugins\/\w+\.ts$/.test(file)],
  ["there is no such registry", ({ text }) => text.includes("registry.test")],
];

/** Whether it makes a box; then it boots one, most likely. */
function boots({ text }: Example): boolean {
  return text.includes(".create({ image");
}

const PROGRAM = new URL("./examples_program.ts", import.meta.url).href;

Deno.test({
  name: "examples in doc comments run to their end",
  ignore: TEST_ENGINE !== "qemu", // nothing in them depends on the engine
  fn: (test) =>
    withHome(async (home) => {
      await using folder = new TempFolder();
      const all = allExamples().filter((each) => !ELSEWHERE.some(([, is]) => is(each)));
      const chosen = [
        ...all.filter((each) => !boots(each)),
        ...all.filter(boots).filter((_, index) => index % EVERY === SEED % EVERY),
      ];
      assert.ok(chosen.length > 20, `${chosen.length} of ${all.length}`);
      const paths = writeExamples(folder.path, chosen);
      const results = join(folder.path, "results");
      const { stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--quiet", "--no-prompt", "--no-check", PROGRAM, results, ...paths],
        env: { HUTCH_HOME: home, TMPDIR: folder.path, NO_COLOR: "1" },
        stdin: "null",
        stdout: "null",
      }).output();
      const said = new TextDecoder().decode(stderr);
      const ended = new Map<string, ExampleResult>();
      for (const line of (await Deno.readTextFile(results).catch(() => "")).trim().split("\n")) {
        if (line === "") continue;
        const result: ExampleResult = JSON.parse(line);
        ended.set(result.path, result);
      }
      for (const [index, { file, line }] of chosen.entries()) {
        await test.step(`${file}:${line}`, () => {
          const result = ended.get(paths[index] ?? "");
          assert.ok(result, `the program ended in it, or before: ${said}`);
          assert.equal(result.error, undefined);
        });
      }
    }),
});
