import assert from "node:assert/strict";
import { importsOf } from "../../scripts/checks/scan.ts";
import { checkImports } from "../../scripts/checks/imports.ts";
import { checkNames } from "../../scripts/checks/names.ts";
import { checkReadme, dependencyNames } from "../../scripts/checks/readme.ts";

Deno.test("importsOf finds every form, and which of them are types", () => {
  const text = [
    'import { a } from "./a.ts";',
    'import type { B } from "./b.ts";',
    'import { type C, type D } from "./c.ts";',
    'import { type E, f } from "./e.ts";',
    'import "./side.ts";',
    "export {",
    "  long,",
    "  names,",
    '} from "./g.ts";',
    'export * from "./h.ts";',
    'const i = await import("./i.ts");',
    'type J = typeof import("./j.ts");',
    'import k from "./k.ts";',
    'import * as l from "./l.ts";',
  ].join("\n");
  const found = importsOf(text).map(({ specifier, typeOnly, line }) => [specifier, typeOnly, line]);
  assert.deepEqual(found, [
    ["./a.ts", false, 1],
    ["./b.ts", true, 2],
    ["./c.ts", true, 3],
    ["./e.ts", false, 4],
    ["./side.ts", false, 5],
    ["./g.ts", false, 6],
    ["./h.ts", false, 10],
    ["./i.ts", false, 11],
    ["./j.ts", true, 12],
    ["./k.ts", false, 13],
    ["./l.ts", false, 14],
  ]);
});

Deno.test("importsOf isn't fooled by comments, strings, templates and regular expressions", () => {
  const text = [
    '/* import { a } from "./a.ts"; */ // import "./b.ts"',
    "const text = 'import \"./c.ts\"';",
    'const template = `import "./d.ts"`;',
    "const pattern = /[\"'/]`/; // a quote in a class",
    'const half = count / 2; import("./e.ts"); const other = half / 3;',
    'object.import("./f.ts");',
  ].join("\n");
  assert.deepEqual(importsOf(text).map(({ specifier }) => specifier), ["./e.ts"]);
});

const RULES: readonly [path: string, source: string, problem: RegExp | undefined][] = [
  ["src/cli/run.ts", 'import { a } from "../runtime/runtime.ts"', undefined],
  ["src/cli/run.ts", 'import { a } from "../state/boxes.ts"', undefined],
  ["src/runtime/runtime.ts", 'import { a } from "../cli/run.ts"', /other way/],
  ["src/box/box.ts", 'import { a } from "../init/pipeline.ts"', undefined],
  ["src/init/stages.ts", 'import { a } from "../box/box.ts"', /other way/],
  ["src/init/stages.ts", 'import type { A } from "../box/starting.ts"', /other way/],
  ["src/init/stages.ts", 'import type { A } from "../box/options.ts"', undefined],
  ["src/init/stages.ts", 'import { a } from "../runtime/paths.ts"', undefined],
  ["src/images/pull.ts", 'import { a } from "../disk/qcow2.ts"', /leaf images .* leaf disk/],
  ["src/images/pull.ts", 'import type { A } from "../disk/qcow2.ts"', undefined],
  ["src/vmm/relay.ts", 'import { a } from "../guest/codec.ts"', undefined],
  ["src/guest/client.ts", 'import { a } from "../vmm/relay.ts"', /leaf guest/],
  ["src/images/pull.ts", 'import { a } from "../errors.ts"', undefined],
  ["src/errors.ts", 'import { a } from "./images/pull.ts"', /common file may not import images/],
  ["src/images/pull.ts", 'import { a } from "../odd/x.ts"', /src\/odd\/ has no place/],
  ["src/images/pull.ts", 'import { a } from "npm:thing@1"', /through src\/deps\.ts/],
  ["src/images/pull.ts", 'import { a } from "jsr:@std/path"', /through src\/deps\.ts/],
  ["src/images/pull.ts", 'import { a } from "node:path"', undefined],
  ["src/deps.ts", 'import { a } from "npm:thing@1"', undefined],
  ["src/images/pull.ts", 'import { a } from "../../../x.ts"', /outside of the project/],
  ["src/images/pull.ts", 'import { a } from "../../mod.ts"', /may not import mod\.ts/],
  [
    "src/init/stages.ts",
    'import { a } from "../../plugins/engines/qemu.ts"',
    /know plugins by name/,
  ],
  ["src/runtime/defaults.ts", 'import { a } from "../../plugins/engines/qemu.ts"', undefined],
  ["plugins/sources/oci.ts", 'import { a } from "../../mod.ts"', undefined],
  ["plugins/sources/oci.ts", 'import { a } from "./oci/layout.ts"', undefined],
  ["plugins/sources/oci.ts", 'import { a } from "../../src/errors.ts"', /nothing of ours/],
  ["plugins/sources/oci.ts", 'import type { A } from "../../src/errors.ts"', /nothing of ours/],
  ["plugins/sources/oci.ts", 'import { a } from "../engines/qemu.ts"', /nothing of ours/],
  ["plugins/sources/oci.ts", 'import { a } from "../../ffi/library.ts"', /nothing of ours/],
  ["plugins/engines/libkrun.ts", 'import { a } from "../../ffi/library.ts"', undefined],
  ["ffi/helper.ts", 'import { a } from "../src/errors.ts"', undefined],
  ["ffi/helper.ts", 'import { a } from "../src/images/pull.ts"', /ffi\/ may not import/],
  ["src/vmm/kvm.ts", 'Deno.dlopen("libc.so.6", {})', /native symbols/],
  ["plugins/engines/libkrun.ts", 'Deno.dlopen("libc.so.6", {})', undefined],
  ["tests/images/pull_test.ts", 'import { a } from "../../src/images/pull/pull.ts"', undefined],
  ["scripts/build.ts", 'import { a } from "npm:thing@1"', /through src\/deps\.ts/],
];

for (const [path, source, problem] of RULES) {
  Deno.test(`checkImports ${problem ? "refuses" : "allows"} ${source} in ${path}`, () => {
    const findings = checkImports(path, `// first line\n${source};\n`);
    if (problem === undefined) assert.deepEqual(findings, []);
    else assert.equal(findings.length, 1);
    for (const finding of findings) {
      assert.match(finding, problem ?? /never/);
      assert.ok(finding.startsWith(`${path}:2: `), finding);
    }
  });
}

Deno.test("checkNames finds mirrors, machine paths and binaries", () => {
  const check = (text: string): string[] => checkNames("x.ts", new TextEncoder().encode(text));
  const host = ["deb", "debian", "org"].join(".");
  const folder = ["", "work", "main"].join("/");
  assert.equal(check(`a\nsee http://${host}/x\n`).length, 1);
  assert.ok(check(`a\nsee http://${host}/x\n`)[0]?.startsWith("x.ts:2: "));
  assert.equal(check(`"${folder}/src"`).length, 1);
  assert.deepEqual(check("/root is a guest's home; example.org is a host\n"), []);
  assert.match(check("\x7fELF\0\0")[0] ?? "", /binary/);
});

const FILES = {
  deps: ['export { a } from "npm:cbor2@^2.3.0";', 'import("npm:@scope/thing@1.0.0/sub")'],
  parts: [
    'deno_package="deno@~2.9.6"',
    'krun_package="@owner/krun@0.12.0"',
    "run_parts=(",
    '  "virtiofsd qemu-system-common : /usr/libexec/virtiofsd"',
    '  "gcc     : cc"',
    ")",
  ].join("\n"),
};

Deno.test("dependencyNames lists npm and Debian packages without versions", () => {
  assert.deepEqual(dependencyNames(FILES), [
    "@owner/krun",
    "@scope/thing",
    "cbor2",
    "deno",
    "gcc",
    "qemu-system-common",
    "virtiofsd",
  ]);
});

Deno.test("checkReadme finds missing and stale lines", () => {
  const rows = dependencyNames(FILES).map((name) => `| \`${name}\` | why |`);
  assert.deepEqual(checkReadme(rows.join("\n"), FILES), []);
  const without = checkReadme(rows.filter((row) => !row.includes("gcc")).join("\n"), FILES);
  assert.equal(without.length, 1);
  assert.match(without[0] ?? "", /`gcc`/);
  const stale = checkReadme(
    [...rows, "| `npm:left` | ? |", "`npm:prose` is no row"].join("\n"),
    FILES,
  );
  assert.equal(stale.length, 1);
  assert.match(stale[0] ?? "", /^README\.md:8: `npm:left`/);
});
