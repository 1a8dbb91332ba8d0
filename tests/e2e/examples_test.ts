/** The examples of comments and guides, run by `deno test --doc`. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Runtime } from "../../mod.ts";
import { makeExt4, toQcow2 } from "../support/disks.ts";
import { TempFolder } from "../support/temp.ts";
import { runTool } from "../support/tools.ts";
import { ROOT, TEST_ENGINE, withHome } from "./support.ts";

/** How long one file's may take, in `ms`; the README has 20. */
const FILE_MS = 600_000;

function* sourcesBelow(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(join(ROOT, folder))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* sourcesBelow(path);
    else if (/\.(?:ts|md)$/.test(path)) yield path;
  }
}

/** Files with examples, as paths from the root, and whether these boot boxes, most likely. */
function filesWithExamples(): { path: string; boots: boolean }[] {
  const files = [
    "mod.ts",
    "README.md",
    ...["src", "ffi", "plugins"].flatMap((f) => [...sourcesBelow(f)]),
  ];
  return files.sort().flatMap((path) => {
    const examples = Deno.readTextFileSync(join(ROOT, path)).match(/```ts\n[^]*?```/g) ?? [];
    const boots = examples.some((text) => text.includes(".create({"));
    return examples.length === 0 ? [] : [{ path, boots }];
  });
}

/** A working folder that has what examples name: files of the project, in a repository, and a disk. */
async function workingFolder(path: string): Promise<void> {
  const names = ["README.md", "scripts", "src"].map((name) => join(ROOT, name));
  await runTool("cp", "-R", ...names, path);
  const git = [
    "git",
    "-C",
    path,
    "-c",
    "user.name=test",
    "-c",
    "user.email=test@example.org",
  ] as const;
  await runTool(...git, "init", "-q");
  await runTool(...git, "add", "README.md");
  await runTool(...git, "commit", "-q", "--no-gpg-sign", "-m", "first");
  const raw = await makeExt4(join(path, "data.img"), join(ROOT, "ffi/confine"));
  await toQcow2(raw, join(path, "data.qcow2"));
}

async function runExamples(files: readonly string[], home: string, cwd: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", "--doc", "-A", "--quiet", "--no-prompt", "--no-check"],
      ...[
        "--config",
        join(ROOT, "scripts/examples.json"),
        ...files.map((file) => join(ROOT, file)),
      ],
    ],
    cwd,
    env: { HUTCH_HOME: home, NO_COLOR: "1", API_TOKEN: "value", DEPLOY_KEY: "value" },
    signal: AbortSignal.timeout(FILE_MS),
  }).output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.equal(code, 0, said);
  return said;
}

/** Examples leave boxes with names, as they say; here they go. */
async function removeBoxes(home: string): Promise<void> {
  await using runtime = await Runtime.open({ home });
  for (const { id } of await runtime.list()) await (await runtime.get(id)).remove({ force: true });
}

Deno.test({
  name: "examples in comments and guides run to their end",
  ignore: TEST_ENGINE !== "qemu", // nothing in them depends on the engine
  fn: (test) =>
    withHome(async (home) => {
      await using folder = new TempFolder();
      await workingFolder(folder.path);
      const all = filesWithExamples();
      const quick = all.filter(({ boots }) => !boots).map(({ path }) => path);
      const slow = all.filter(({ boots }) => boots).map(({ path }) => path);
      assert.ok(quick.length > 20 && slow.length > 25, `${quick.length}, ${slow.length}`);
      for (const files of [quick, ...slow.map((path) => [path])]) {
        await test.step(
          files.length === 1 ? `${files[0]}` : "those that boot nothing",
          async () => {
            const said = await runExamples(files, home, folder.path);
            assert.match(said, /^ok \| [1-9]\d* passed/m);
            await removeBoxes(home);
          },
        );
      }
    }),
});
