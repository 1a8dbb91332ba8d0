import assert from "node:assert/strict";
import { join } from "node:path";
import { makeRelease } from "../../scripts/release/main.ts";
import { type Bill, npmComponents } from "../../scripts/release/sbom.ts";
import { VERSION } from "../../src/version.ts";
import { FileServer } from "../support/file_server.ts";
import { TempFolder } from "../support/temp.ts";
import { runTool } from "../support/tools.ts";

const NAME = `hutch-${VERSION}`;

Deno.test("makeRelease gives an archive whose parts are taken from a URL, its bill and checksums", async () => {
  await using folder = new TempFolder();
  const [first, second] = [join(folder.path, "1"), join(folder.path, "2")];
  await makeRelease(first);
  await makeRelease(second);
  const sums = await Deno.readTextFile(join(first, `${NAME}.sha256`));
  assert.equal(await Deno.readTextFile(join(second, `${NAME}.sha256`)), sums, "the same bytes");
  await runTool("sh", "-c", `cd "$0" && sha256sum --check --strict ${NAME}.sha256`, first);
  await assert.rejects(makeRelease(first), Deno.errors.AlreadyExists);

  const bill: Bill = JSON.parse(await Deno.readTextFile(join(first, `${NAME}.cdx.json`)));
  assert.equal(bill.metadata.component.version, VERSION);
  const named = new Map(bill.components.map((component) => [component.name, component]));
  assert.match(named.get("cbor2")?.purl ?? "", /^pkg:npm\/cbor2@2\./);
  assert.match(named.get("libarchive")?.version ?? "", /^\d/);
  assert.ok(!named.has("fast-check"), "tests alone need it");

  await runTool("tar", "-xzf", join(first, `${NAME}.tar.gz`), "-C", folder.path);
  const tree = join(folder.path, NAME);
  const target = Deno.build.target;
  const part = named.get(`prebuilt/${target}/libhutch.so`);
  const sum = await runTool("sha256sum", join(tree, `prebuilt/${target}/libhutch.so`));
  assert.equal(part?.hashes?.[0]?.content, sum.split(" ")[0]);

  // From the archive's own folder.
  const here = await runTool(
    ...[Deno.execPath(), "eval", "--no-config", "--no-lock"] as const,
    `import { helperPath } from "${tree}/ffi/library.ts"; console.log(helperPath())`,
  );
  assert.equal(here.trim(), join(tree, `prebuilt/${target}/libhutch.so`));

  // As a reader gets it: no compiler is asked.
  await using server = new FileServer(tree);
  const home = join(folder.path, "home");
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--quiet", "--no-check", "--no-config", "--no-lock"],
      ...[`${server.url}src/cli/main.ts`, "--no-config", "doctor", "--json"],
    ],
    env: { HUTCH_HOME: home, XDG_CACHE_HOME: join(folder.path, "cache"), CC: "/nonexistent" },
  }).output();
  assert.equal(new TextDecoder().decode(stderr), "");
  const report = JSON.parse(new TextDecoder().decode(stdout));
  assert.ok(code === 0 || !report.ok);
  const { path } = report.parts.find(({ name }: { name: string }) => name === "helper");
  assert.ok(path.endsWith(`/${part?.hashes?.[0]?.content}/libhutch.so`), path);
  assert.deepEqual(server.missed, []);
});

Deno.test("npmComponents lists packages with all that they need, and their digests", () => {
  const components = npmComponents('export * from "npm:@a/b@^1.0.0";', {
    specifiers: {},
    npm: {
      "@a/b@1.2.3": { integrity: "sha512-AAE=", dependencies: ["c"] },
      "c@2.0.0": { integrity: "sha512-/w==" },
      "d@1.0.0": { integrity: "sha512-" },
    },
  });
  assert.deepEqual(components.map(({ purl, hashes }) => [purl, hashes?.[0]?.content]), [
    ["pkg:npm/%40a/b@1.2.3", "0001"],
    ["pkg:npm/c@2.0.0", "ff"],
  ]);
  assert.throws(
    () => npmComponents('from "npm:e@1"', { specifiers: {}, npm: {} }),
    /doesn't have it/,
  );
});
