import assert from "node:assert/strict";
import { join } from "node:path";
import { confinementSupport } from "../../ffi/helper.ts";
import { boxLibraryPath } from "../../ffi/library.ts";
import { projectRoot } from "../agent/native.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const cc = needs("cc");
const { landlock, seccomp } = confinementSupport();
/** What isn't proven here, for the names of tests. */
const lacking = [landlock ? "" : "Landlock", seccomp ? "" : "seccomp"].filter((name) =>
  name !== ""
);
const note = lacking.length === 0
  ? ""
  : `, but for ${lacking.join(" and ")}, which this kernel lacks`;
const [EPERM, EACCES, ENOSYS] = [1, 13, 38];

async function folders(): Promise<TempFolder & { own: string; other: string }> {
  const folder = new TempFolder();
  const [own, other] = ["own", "other"].map((name) => join(folder.path, name));
  for (const path of [own ?? "", other ?? ""]) {
    await Deno.mkdir(path);
    await Deno.writeTextFile(join(path, "file"), "kept\n");
  }
  return Object.assign(folder, { own: own ?? "", other: other ?? "" });
}

Deno.test({
  name: `hutch_confine leaves every thread its own files and open files alone${note}${cc.note}`,
  ignore: cc.ignore,
  async fn() {
    await using folder = await folders();
    const program = join(folder.path, "tries");
    const parts = ["confine.c", "calls.c", "landlock.c", "threads.c"]
      .map((name) => join(projectRoot, "ffi/confine", name));
    const flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-pthread"];
    const checks = ["-fsanitize=undefined", "-fno-sanitize-recover=all"];
    const source = join(projectRoot, "tests/ffi/confine_tries.c");
    await runTool("cc", ...flags, ...checks, "-o", program, source, ...parts);
    const said = await runTool(program, folder.own, folder.other);
    const [first = "", ...lines] = said.trimEnd().split("\n");
    assert.match(first, /^done (\d+) of \1$/);
    const seen = new Set<string>();
    for (const line of lines) {
      const [thread = "", what = "", code = ""] = line.split(" ");
      seen.add(thread);
      const isFile = what.endsWith("-other");
      const expected = what.endsWith("-own")
        ? 0
        : isFile
        ? EACCES
        : what === "clone3"
        ? ENOSYS
        : EPERM;
      if (isFile ? landlock : what.endsWith("-own") || seccomp) {
        assert.equal(Number(code), expected, line);
      }
    }
    assert.deepEqual([...seen].sort(), ["early1", "early2", "early3", "late", "main"]);
    if (landlock) assert.equal(await Deno.readTextFile(join(folder.other, "file")), "kept\n");
  },
});

const DENO = `import { confine } from ${JSON.stringify(join(projectRoot, "ffi/confine.ts"))};
const [library, own, other] = Deno.args;
const tell = async (what, run) => {
  try {
    await run();
    console.log(what, "works");
  } catch (error) {
    console.log(what, error.name);
  }
};
await Promise.all(Array.from({ length: 8 }, () => Deno.readTextFile(other + "/file"))); // threads
const open = await Deno.open(other + "/file");
confine(library, [{ may: "write", path: own }, { may: "remove", path: other }]);
await tell("own", () => Deno.writeTextFile(own + "/new", "x"));
await tell("open", () => open.read(new Uint8Array(1)));
await tell("other", () => Promise.all(
  Array.from({ length: 8 }, () => Deno.readTextFile(other + "/file"))));
await tell("other-sync", () => Deno.readTextFileSync(other + "/file"));
await tell("remove", () => Deno.remove(other + "/file"));
await tell("run", () => new Deno.Command("/bin/true").output());
await tell("listen", () => Deno.listen({ port: 0 }).close());
await tell("worker", () => new Promise((resolve, reject) => {
  const url = URL.createObjectURL(new Blob(["postMessage(1); close();"]));
  const worker = new Worker(url, { type: "module" });
  worker.onmessage = resolve;
  worker.onerror = reject;
}));
`;

Deno.test({
  name: `confine takes files, programs and sockets from a running Deno, which goes on${note}`,
  async fn() {
    await using folder = await folders();
    const script = join(folder.path, "script.js");
    await Deno.writeTextFile(script, DENO);
    const run = ["run", "-A", "--quiet", "--no-check", script];
    const said = await runTool(
      ...[Deno.execPath(), ...run, boxLibraryPath(), folder.own, folder.other] as const,
    );
    const [file, call] = [landlock ? "PermissionDenied" : "works", seccomp];
    assert.deepEqual(
      said.trimEnd().split("\n").map((line) => line.split(" ")).filter(([what]) =>
        call || !["run", "listen"].includes(what ?? "")
      ),
      [
        ["own", "works"],
        ["open", "works"],
        ["other", file],
        ["other-sync", file],
        ["remove", "works"],
        ...call ? [["run", "PermissionDenied"], ["listen", "PermissionDenied"]] : [],
        ["worker", "works"],
      ],
    );
  },
});
