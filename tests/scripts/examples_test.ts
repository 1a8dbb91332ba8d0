import assert from "node:assert/strict";
import { examplesOf } from "../../scripts/examples.ts";

Deno.test("examplesOf finds the programs in comments and guides, and nothing else", () => {
  const inComment = [
    "/**",
    " * Says it.",
    " *",
    " * ```ts",
    ' * import { Runtime } from "./mod.ts";',
    " *",
    " * await using runtime = await Runtime.open();",
    " * ```",
    " */",
    "",
  ].join("\n");
  assert.deepEqual(examplesOf("a.ts", inComment), [{
    file: "a.ts",
    line: 4,
    text: 'import { Runtime } from "./mod.ts";\n\nawait using runtime = await Runtime.open();\n',
  }]);
  const guide = '```ts\nimport "../mod.ts";\n```\n\n```sh\nimport from "./mod.ts"\n```\n' +
    '```ts\nimport { a } from "../mod.ts";\n```\n';
  assert.deepEqual(examplesOf("b.md", guide).map(({ line }) => line), [8]);
});
