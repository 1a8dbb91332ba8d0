import assert from "node:assert/strict";
import { join } from "node:path";
import { policy, type PolicyRules } from "../../plugins/policy.ts";
import {
  type BoxOptions,
  definePlugin,
  type Engine,
  HutchError,
  PluginError,
  Runtime,
} from "../../mod.ts";
import { boxPaths, pathsOf } from "../../src/runtime/paths.ts";
import { TempFolder } from "../support/temp.ts";
import "../support/native.ts";
import { hostOf } from "./support.ts";

const FOREVER = new AbortController().signal;
const BUSYBOX = "builtin:busybox";

/** What a policy says of these options: the rule it names, or the box that was made. */
async function ask(rules: PolicyRules, options: Partial<BoxOptions> = {}) {
  await using home = new TempFolder();
  await using runtime = await Runtime.open({ home: home.path, plugins: [policy(rules)] });
  try {
    const { config } = await runtime.create({ image: BUSYBOX, name: "it", ...options });
    return config;
  } catch (error) {
    assert.deepEqual(await runtime.list({ all: true }), []);
    assert.deepEqual(await runtime.images.list(), [], "it pulled an image first");
    return ruleOf(error, "create.before");
  }
}

/** The rule that an error names. */
function ruleOf(error: unknown, hook: string): string {
  assert.ok(error instanceof PluginError, String(error));
  assert.deepEqual([error.plugin, error.hook], ["policy", hook]);
  assert.ok(error.cause instanceof HutchError);
  assert.equal(error.cause.code, "invalid_option");
  return /rule "(\w+)" doesn't allow /.exec(error.message)?.[1] ?? assert.fail(error.message);
}

const CASES: readonly [PolicyRules, Partial<BoxOptions>, rule: string | undefined][] = [
  [{ images: ["builtin:*"] }, {}, undefined],
  [{ images: ["registry:docker.io/library/*"] }, {}, "images"],
  [{ images: [] }, {}, "images"],
  [
    { images: ["registry:docker.io/library/*"] },
    { image: "docker.io.evil.test/library/x" },
    "images",
  ],
  [{ images: ["registry:docker.io/library/debian:*"] }, { image: "debian-evil:12" }, "images"],
  [{ images: ["registry:docker.io/library/debian:1.*"] }, { image: "debian:12" }, "images"],
  [{ maxCpus: 1 }, { cpus: 1 }, undefined],
  [{ maxCpus: 1 }, { cpus: 2 }, "maxCpus"],
  [{ maxMemory: "1g" }, { memory: "1g" }, undefined],
  [{ maxMemory: "1g" }, { memory: 1025 }, "maxMemory"],
  [{ maxDisk: 1024 }, { disk: "1g" }, undefined],
  [{ maxDisk: 1024 }, { disk: "1025m" }, "maxDisk"],
  [{ forbiddenEnv: ["LD_*"] }, { env: { PATH: "/bin", OLD_X: "1" } }, undefined],
  [{ forbiddenEnv: ["A", "LD_*"] }, { env: { X: "1", LD_PRELOAD: "x" } }, "forbiddenEnv"],
];

for (const [rules, options, rule] of CASES) {
  const said = JSON.stringify(rules).slice(1, -1) || "nothing";
  Deno.test(`policy of ${said} ${rule ? "refuses" : "allows"} ${JSON.stringify(options)}`, async () => {
    const answer = await ask(rules, options);
    assert.equal(typeof answer === "string" ? answer : undefined, rule);
  });
}

Deno.test("policy sees where an image comes from, whatever it is to be called", async () => {
  await using home = new TempFolder();
  const file = join(home.path, "images.tar");
  {
    await using runtime = await Runtime.open({ home: home.path });
    await runtime.images.pull(BUSYBOX);
    await runtime.images.tag(BUSYBOX, "debian:12");
    await runtime.images.save(["debian:12"], { to: file });
    await runtime.images.remove("debian:12");
  }
  const rules = { images: ["registry:docker.io/library/*"] };
  await using runtime = await Runtime.open({ home: home.path, plugins: [policy(rules)] });
  const [image] = await runtime.images.list();
  const refused = {
    code: "image_refused",
    message: /rule "images" doesn't allow (?:builtin|oci):/,
  };
  await assert.rejects(runtime.images.tag(BUSYBOX, "debian:12"), refused);
  await assert.rejects(runtime.images.load(file), refused);
  await assert.rejects(async () => await runtime.images.pull(BUSYBOX), refused);
  await assert.rejects(runtime.create({ image: image?.digest ?? "" }), /rule "images"/);
  assert.equal((await runtime.images.list()).length, 1);
});

Deno.test("policy gives boxes that don't say no more than is allowed, and else the default", async () => {
  const usual = await ask({});
  const loose = await ask({ maxMemory: "1g", maxDisk: "100g" });
  const tight = await ask({ maxMemory: 256, maxDisk: "1g" });
  assert.ok(typeof usual !== "string" && typeof loose !== "string" && typeof tight !== "string");
  assert.deepEqual([loose.memoryMiB, loose.diskMiB], [usual.memoryMiB, usual.diskMiB]);
  assert.deepEqual([tight.memoryMiB, tight.diskMiB], [256, 1024]);
});

Deno.test("policy looks at what the other plugins made of the options", async () => {
  await using home = new TempFolder();
  const greedy = definePlugin({
    name: "greedy",
    operations: { create: { before: (options) => ({ ...options, memory: 2048 }) } },
  });
  const plugins = [policy({ maxMemory: 1024 }), greedy];
  await using runtime = await Runtime.open({ home: home.path, plugins });
  await assert.rejects(
    runtime.create({ image: BUSYBOX }),
    (error) => ruleOf(error, "create.before") === "maxMemory",
  );
});

Deno.test("policy refuses rules that it can't read", () => {
  assert.throws(() => policy({ maxMemory: "much" }), { code: "invalid_option" });
});

Deno.test("policy looks at each command's environment", async () => {
  await using host = await hostOf(policy({ forbiddenEnv: ["LD_*"] }));
  const run = (env: Record<string, string>) =>
    host.run(
      "exec",
      { command: "x", args: [], options: { env } },
      { signal: FOREVER },
      () => Promise.reject(new Error("ran")),
    );
  await assert.rejects(run({ A: "1" }), /^Error: ran$/);
  await assert.rejects(
    run({ LD_X: "1" }),
    (error) => ruleOf(error, "exec.before") === "forbiddenEnv",
  );
});

Deno.test("policy looks at the limits of boxes that others made when they start", async () => {
  await using home = new TempFolder();
  {
    await using runtime = await Runtime.open({ home: home.path });
    await runtime.create({ image: BUSYBOX, name: "large", memory: 600 });
  }
  await using runtime = await Runtime.open({
    home: home.path,
    plugins: [policy({ maxMemory: 512 })],
  });
  const box = await runtime.get("large");
  await assert.rejects(box.start(), /layout.*rule "maxMemory" doesn't allow 600 MiB, only 512 MiB/);
});

Deno.test("policy allows volumes below its folders, through no link, and those made for the box", async () => {
  await using folder = new TempFolder();
  const root = await Deno.realPath(folder.path);
  const at = (path: string) => join(root, path);
  await using runtime = await Runtime.open({ home: at("home") });
  const { config: box } = await runtime.create({ image: BUSYBOX });
  const layout = boxPaths(pathsOf(at("home")), box.id);
  const made = join(layout.folder, "volumes/uservol0");
  for (const path of [at("data/sub"), at("data-2"), made]) {
    await Deno.mkdir(path, { recursive: true });
  }
  await Deno.symlink(at("data"), at("link"));
  await using host = await hostOf(policy({ volumeFolders: [at("link"), at("not-there")] }));
  const volume = { kind: "share", tag: "uservol0", guestPath: "/x", readOnly: false } as const;
  const how = { noexec: false, uid: 0, gid: 0, owner: null } as const;
  const resolve = (hostPath: string) =>
    host.run(
      "volumes",
      { box, layout },
      { signal: FOREVER },
      () => Promise.resolve([{ ...volume, ...how, hostPath }]),
    );
  for (const path of [at("data"), at("data/sub"), made]) {
    assert.partialDeepStrictEqual((await resolve(path))[0], { hostPath: path });
  }
  for (const path of [at("data-2"), root, "/", layout.folder, at("home"), at("not-there/x")]) {
    await assert.rejects(
      resolve(path),
      (error) => ruleOf(error, "volumes.wrap") === "volumeFolders",
    );
  }
});

/** An engine that only claims to be there. */
function engine(name: string, isolated: boolean, rank: number): Engine {
  return {
    name,
    runner: "",
    probe: () =>
      Promise.resolve({ usable: true, isolated, rank, parts: {}, permissions: {}, found: [] }),
  };
}

Deno.test("policy takes engines that isolate, and no other", async () => {
  await using home = new TempFolder();
  const engines = definePlugin({
    name: "engines",
    engines: [engine("open", false, 1000), engine("closed", true, 900), engine("shut", true, 800)],
  });
  await using runtime = await Runtime.open({
    home: home.path,
    plugins: [engines, policy({ isolatedEngines: true })],
  });
  await runtime.create({ image: BUSYBOX, engine: "shut" });
  await runtime.create({ image: BUSYBOX });
  await assert.rejects(
    runtime.create({ image: BUSYBOX, engine: "open" }),
    (error) => ruleOf(error, "create.before") === "isolatedEngines",
  );
  assert.equal(await bootsOn("auto"), "closed");
  assert.equal(await bootsOn("shut"), "shut");
  await assert.rejects(
    bootsOn("open"),
    /rule "isolatedEngines" doesn't allow engine open, only closed, shut/,
  );

  /** The engine that a box made without the policy is told to boot on. */
  async function bootsOn(engine: string): Promise<string> {
    let told: string | undefined;
    const disk = { path: "/dev/null", format: "raw", readOnly: true } as const;
    const last = definePlugin({
      name: "last",
      order: "post",
      stages: {
        image: { wrap: () => ({ digest: "sha256:0", disk }) },
        system: { wrap: () => ({ kernelPath: "", commandLine: "", disk }) },
        disk: { wrap: () => disk },
        boot: {
          before: (input) => {
            told = input.engine;
            throw new Error("enough");
          },
        },
      },
    });
    const name = `box-${engine}`;
    {
      await using free = await Runtime.open({ home: home.path, plugins: [engines] });
      await free.create({ image: BUSYBOX, name, engine });
    }
    const plugins = [engines, policy({ isolatedEngines: true }), last];
    await using bound = await Runtime.open({ home: home.path, plugins });
    const box = await bound.get(name);
    await assert.rejects(box.start(), (error) => {
      if (told === undefined) throw error;
      return true;
    });
    return told ?? "";
  }
});
