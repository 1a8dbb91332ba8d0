import assert from "node:assert/strict";
import { join } from "node:path";
import { type BoxConfig, Runtime, type VolumeAnswer, type VolumeSpec } from "../../mod.ts";
import { gitVolume } from "../../plugins/git_volume.ts";
import { checkOptions, makeConfig } from "../../src/box/config.ts";
import { PluginHost } from "../../src/plugin/host.ts";
import { missingTools, runTool } from "../support/tools.ts";
import { TempFolder } from "../support/temp.ts";

const missing = missingTools("git");
const ignore = missing.length > 0;
const note = ignore ? ` (needs ${missing.join(", ")})` : "";

/** A repository with two commits on `main`, the first one tagged, and a branch `side/one`. */
async function repository(path: string): Promise<{ first: string; second: string }> {
  const git = (...args: string[]) =>
    runTool("git", "-C", path, "-c", "user.name=n", "-c", "user.email=e", ...args);
  await runTool("git", "init", "--quiet", "--initial-branch=main", path);
  await Deno.writeTextFile(join(path, "file"), "first\n");
  await git("add", "file");
  await git("commit", "--quiet", "-m", "first");
  await git("tag", "v1.0");
  await git("branch", "side/one");
  const first = (await git("rev-parse", "HEAD")).trim();
  await Deno.writeTextFile(join(path, "file"), "second\n");
  await git("commit", "--quiet", "-a", "-m", "second");
  return { first, second: (await git("rev-parse", "HEAD")).trim() };
}

/** Asks the plugin, with a home of the test's own. */
async function ask(
  spec: VolumeSpec,
  { home, start, signal }: { home?: string; start?: string; signal?: AbortSignal } = {},
): Promise<VolumeAnswer | undefined> {
  await using runtime = home === undefined ? undefined : await Runtime.open({ home });
  await using host = new PluginHost([gitVolume()], {
    log: () => {},
    runtime: () => runtime ?? assert.fail("it needs no runtime"),
    boxOf: () => undefined,
    record: () => {},
  });
  return await host.ask("volume", {
    spec,
    start: start === undefined ? undefined : { box: config(), folder: start },
  }, { signal: signal ?? new AbortController().signal });
}

function config(): BoxConfig {
  const image = { reference: "builtin:busybox", digest: `sha256:${"0".repeat(64)}` };
  return makeConfig(checkOptions({ image: "builtin:busybox" }), image, {
    env: {},
    workingDir: "/",
    user: "",
    entrypoint: [],
    cmd: [],
    labels: {},
    exposedPorts: [],
    volumes: [],
    stopSignal: "",
  });
}

const HEX = "0123456789abcdef0123456789abcdef01234567";

for (
  const [spec, git, ref, guest, readOnly] of [
    ["git:https://x.org/a/b.git#main:/src:ro", "https://x.org/a/b.git", "main", "/src", true],
    ["git:https://x.org:8443/b.git#v1.0", "https://x.org:8443/b.git", "v1.0", "/b", false],
    ["git:ssh://git@x.org/b#f/x-1:/s:rw", "ssh://git@x.org/b", "f/x-1", "/s", false],
    ["git:git://x.org/b#:/s", "git://x.org/b", "HEAD", "/s", false],
    [`git:./b#${HEX}`, join(Deno.cwd(), "b"), HEX, "/b", false],
    [
      { git: "file:///a:b/c.git", guest: "/s", readOnly: true },
      "file:///a:b/c.git",
      "HEAD",
      "/s",
      true,
    ],
  ] as const
) {
  Deno.test(`gitVolume reads ${JSON.stringify(spec)} and makes nothing`, async () => {
    assert.deepEqual(await ask(spec), {
      guestPath: guest,
      readOnly,
      spec: { git, ref, guest, readOnly, submodules: false },
    });
  });
}

for (const spec of ["/git:/x", "github:x#y:/z", { host: "/x", guest: "/y" }]) {
  Deno.test(`gitVolume leaves ${JSON.stringify(spec)} to other plugins`, async () => {
    assert.equal(await ask(spec), undefined);
  });
}

for (
  const [spec, why] of [
    ["git:https://x.org/b.git:/src", /isn't git:URL#REF/],
    ["git:https://x.org/b.git#main:/src:rx", /isn't git:URL#REF/],
    ["git:ext::sh -c true#main:/src", /neither of https/],
    ["git:-u#main:/src", /neither of https/],
    ["git:ssh://-oProxyCommand=x/y#main:/src", /neither of https/],
    ["git:x.org:b#main:/src", /neither of https/],
    ["git:https://x.org/b\n#main:/src", /neither of https/],
    ["git:https://x.org/b#--upload-pack=x:/src", /is no branch, tag or commit/],
    ["git:https://x.org/b#a..b:/src", /is no branch/],
    ["git:https://x.org/b#a b:/src", /is no branch/],
    ["git:https://x.org/b#+main:/src", /is no branch/],
    [{ git: "https://x.org/b", guest: "/s", branch: "x" }, /"branch" is not an option/],
    [{ git: 7, guest: "/s" }, /no text/],
    [{ git: "https://x.org/b", guest: "/s", readOnly: "yes" }, /neither true nor false/],
  ] as const
) {
  Deno.test(`gitVolume refuses ${JSON.stringify(spec)}`, async () => {
    await assert.rejects(ask(spec), why);
  });
}

Deno.test(`gitVolume fetches one commit of branches, tags and ids${note}`, { ignore }, async () => {
  await using temp = new TempFolder();
  const origin = join(temp.path, "origin");
  const { first, second } = await repository(origin);
  for (
    const [n, [ref, content, commit]] of ([
      ["", "second\n", second],
      ["main", "second\n", second],
      ["v1.0", "first\n", first],
      ["side/one", "first\n", first],
      [first, "first\n", first],
    ] as const).entries()
  ) {
    const start = join(temp.path, "box", `v${n}`);
    const answer = await ask(`git:${origin}#${ref}:/src`, { start });
    assert.equal(answer?.hostPath, join(start, "tree"));
    assert.equal(await Deno.readTextFile(join(start, "tree/file")), content);
    const log = await runTool("git", "-C", join(start, "tree"), "log", "--format=%H");
    assert.equal(log, `${commit}\n`);
    assert.deepEqual([...Deno.readDirSync(start)].map(({ name }) => name).sort(), [
      "commit",
      "tree",
    ]);
  }
});

Deno.test(`gitVolume keeps what a box has, its changes too${note}`, { ignore }, async () => {
  await using temp = new TempFolder();
  const origin = join(temp.path, "origin");
  await repository(origin);
  const start = join(temp.path, "box");
  await Deno.mkdir(join(start, "new", "half"), { recursive: true }); // of a start that was killed
  await ask(`git:${origin}#main:/src`, { start });
  await Deno.writeTextFile(join(start, "tree/file"), "changed\n");
  await Deno.remove(origin, { recursive: true });
  await ask(`git:${origin}#main:/src`, { start });
  assert.equal(await Deno.readTextFile(join(start, "tree/file")), "changed\n");
});

Deno.test(`gitVolume shares read-only commits among boxes, and keeps each box at its own${note}`, {
  ignore,
}, async () => {
  await using temp = new TempFolder();
  const origin = join(temp.path, "origin");
  await repository(origin);
  const home = join(temp.path, "home");
  const spec = `git:${origin}#main:/src:ro`;
  const boxes = ["a", "b", "c"].map((name) => join(temp.path, name));
  const both = await Promise.all(boxes.slice(0, 2).map((start) => ask(spec, { home, start })));
  const [path = ""] = both.map((answer) => answer?.hostPath);
  assert.equal(both[1]?.hostPath, path);
  assert.match(path, new RegExp(`^${home}/cache/git/[0-9a-f]{64}$`));
  assert.equal(await Deno.readTextFile(join(path, "file")), "second\n");
  await runTool("git", "-C", origin, "reset", "--quiet", "--hard", "v1.0");
  const later = await ask(spec, { home, start: boxes[2] ?? "" });
  assert.equal(await Deno.readTextFile(join(later?.hostPath ?? "", "file")), "first\n");
  assert.equal((await ask(spec, { home, start: boxes[0] ?? "" }))?.hostPath, path);
});

Deno.test(`gitVolume runs no hook, and takes no settings of a hook that it runs in${note}`, {
  ignore,
}, async () => {
  await using temp = new TempFolder();
  const origin = join(temp.path, "origin");
  await repository(origin);
  const mark = join(temp.path, "mark");
  const hooks = join(temp.path, "hooks");
  await Deno.mkdir(hooks);
  await Deno.writeTextFile(join(hooks, "post-checkout"), `#!/bin/sh\ntouch ${mark}\n`, {
    mode: 0o755,
  });
  await Deno.writeTextFile(join(temp.path, ".gitconfig"), `[core]\n\thooksPath = ${hooks}\n`);
  const before = { HOME: Deno.env.get("HOME") ?? "", GIT_DIR: "" };
  Deno.env.set("HOME", temp.path);
  Deno.env.set("GIT_DIR", join(temp.path, "elsewhere"));
  try {
    const start = join(temp.path, "box");
    await ask(`git:${origin}#main:/src`, { start });
    assert.equal(await Deno.readTextFile(join(start, "tree/file")), "second\n");
  } finally {
    Deno.env.set("HOME", before.HOME);
    Deno.env.delete("GIT_DIR");
  }
  await assert.rejects(Deno.stat(mark), Deno.errors.NotFound);
});

Deno.test(`gitVolume gives git's last words, and no password${note}`, { ignore }, async () => {
  await using temp = new TempFolder();
  const origin = join(temp.path, "origin");
  await repository(origin);
  const start = join(temp.path, "box");
  await assert.rejects(
    ask(`git:${origin}#nothing:/src`, { start }),
    /origin#nothing": git says: .*couldn't find remote ref nothing/,
  );
  await assert.rejects(
    ask("git:http://me:secret@127.0.0.1:1/x#main:/src", { start }),
    (error: unknown) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, /http:\/\/me:…@127\.0\.0\.1:1\/x#main": git says: /);
      assert.ok(!error.message.includes("secret"), error.message);
      return true;
    },
  );
});

Deno.test(`gitVolume ends git when it is cancelled${note}`, { ignore }, async () => {
  await using temp = new TempFolder();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 }); // accepts and says nothing
  const cancel = new AbortController();
  const start = join(temp.path, "box");
  const { port } = listener.addr;
  const asked = ask(`git:git://127.0.0.1:${port}/x#main:/src`, { start, signal: cancel.signal });
  using _connection = await listener.accept();
  cancel.abort(new Error("enough"));
  await assert.rejects(asked, /enough/);
});

Deno.test(`gitVolume takes submodules where asked for, but none of this machine's${note}`, {
  ignore,
}, async () => {
  await using temp = new TempFolder();
  const [origin, other] = [join(temp.path, "origin"), join(temp.path, "other")];
  await repository(origin);
  await repository(other);
  const git = (...args: string[]) =>
    runTool("git", "-C", origin, "-c", "user.name=n", "-c", "user.email=e", ...args);
  await git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", other, "sub");
  await git("commit", "--quiet", "-m", "sub");
  const start = join(temp.path, "box");
  const spec = { git: origin, guest: "/src" };
  await ask(spec, { start });
  assert.deepEqual([...Deno.readDirSync(join(start, "tree/sub"))], []);
  await assert.rejects(
    ask({ ...spec, submodules: true }, { start: join(temp.path, "box2") }),
    /transport 'file' not allowed/,
  );
});
