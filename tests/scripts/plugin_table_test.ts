import assert from "node:assert/strict";
import { checkGuide, checkPluginLength } from "../../scripts/checks/guide.ts";
import { CONTRACT, GUIDE, membersOf, pluginTable, withTable } from "../../scripts/plugin_table.ts";

const CONTRACT_TEXT = `
/** Steps. */
export interface Stages {
  /** One line. */
  first: { input: { a: string | null }; output: readonly string[] };
  /**
   * Several
   * lines.
   */
  second: {
    input: { a: Map<string, { b: number }>; c: (() => void)[] };
    output: Omit<X, "a" | "b">;
  };
}

export interface Operations {
  /** Does. */
  do: { input: I; output: O };
}

export interface Queries {
  /** Asks. */
  ask: { question: Q; answer: { ok: true } | { ok: false } };
}

export interface NetworkDecisions {
  /** Decides. */
  onThis: { question: Q; answer: A };
}

export interface Events {
  /** Happens. */
  "it.happened": About & {
    /** A field's own words. */
    why: string | null;
  };
}
`;
const GUIDE_TEXT = [
  "# Guide",
  "<!-- The table of hooks: deno task plugin-table writes it. -->",
  "old",
  "<!-- The end of the table of hooks. -->",
  "after",
].join("\n");

Deno.test("membersOf reads names, words and types over any number of lines", () => {
  assert.deepEqual(membersOf(CONTRACT_TEXT, "Stages"), [
    {
      name: "first",
      doc: "One line.",
      type: "{ input: { a: string | null }; output: readonly string[] }",
    },
    {
      name: "second",
      doc: "Several lines.",
      type: "{ input: { a: Map<string, { b: number }>; c: (() => void)[] }; " +
        'output: Omit<X, "a" | "b"> }',
    },
  ]);
  assert.deepEqual(membersOf(CONTRACT_TEXT, "Events"), [
    { name: "it.happened", doc: "Happens.", type: "About & { why: string | null }" },
  ]);
});

Deno.test("membersOf wants documentation, and the interface", () => {
  assert.throws(() => membersOf(CONTRACT_TEXT, "Nothing"), /no interface Nothing/);
  const undocumented = CONTRACT_TEXT.replace("  /** Asks. */\n", "");
  assert.throws(() => membersOf(undocumented, "Queries"), /Queries\.ask has no documentation/);
});

Deno.test("pluginTable has a line for each member, with what breaks a table escaped", () => {
  const table = pluginTable(CONTRACT_TEXT);
  assert.match(
    table,
    /^\| `first` \| One line\. \| `\{ a: string \\\| null \}` \| `readonly string\[\]` \|$/m,
  );
  assert.match(
    table,
    /^\| `it\.happened` \| Happens\. \| `About & \{ why: string \\\| null \}` \|$/m,
  );
  assert.match(table, /^\| `ask` \| Asks\. \| `Q` \| `\{ ok: true \} \\\| \{ ok: false \}` \|$/m);
});

Deno.test("withTable changes nothing but the table, and nothing when it is up to date", () => {
  const made = withTable(GUIDE_TEXT, CONTRACT_TEXT);
  assert.ok(made.startsWith("# Guide\n") && made.endsWith("\nafter"));
  assert.ok(!made.includes("old"));
  assert.equal(withTable(made, CONTRACT_TEXT), made);
});

Deno.test("checkGuide finds a table that is out of date, and a guide without one", () => {
  const made = withTable(GUIDE_TEXT, CONTRACT_TEXT);
  assert.deepEqual(checkGuide(made, CONTRACT_TEXT), []);
  const changed = CONTRACT_TEXT.replace("One line.", "Another line.");
  assert.match(
    checkGuide(made, changed)[0] ?? "",
    /^plugins\/README\.md:1: .*deno task plugin-table/,
  );
  assert.match(checkGuide("# Guide\n", changed)[0] ?? "", /no place/);
});

Deno.test("the guide has every name of the contract in its table", () => {
  const read = (path: string) => Deno.readTextFileSync(new URL(`../../${path}`, import.meta.url));
  const [guide, contract] = [read(GUIDE), read(CONTRACT)];
  for (const part of ["Stages", "Operations", "Queries", "Events"]) {
    const members = membersOf(contract, part);
    assert.ok(members.length > 3, part);
    for (const { name } of members) assert.ok(guide.includes(`\n| \`${name}\` | `), name);
  }
});

Deno.test("checkPluginLength refuses 150 lines of plugins that are examples, and no others", () => {
  const [most, many] = [149, 150].map((lines) => "line\n".repeat(lines));
  assert.ok(most && many);
  assert.deepEqual(checkPluginLength("plugins/audit.ts", most), []);
  assert.match(
    checkPluginLength("plugins/audit.ts", many)[0] ?? "",
    /^plugins\/audit\.ts:1: .*150/,
  );
  assert.deepEqual(checkPluginLength("plugins/sources/oci.ts", many), []);
});
