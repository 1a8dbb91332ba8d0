import assert from "node:assert/strict";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { HutchError, loadConfig, type LoadConfigOptions, Runtime } from "../../mod.ts";
import "../support/native.ts";
import { TempFolder } from "../support/temp.ts";

/** A folder with files in it. */
async function folderWith(files: Record<string, string>): Promise<TempFolder> {
  const folder = new TempFolder();
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder.path, name);
    await Deno.mkdir(join(path, ".."), { recursive: true });
    await Deno.writeTextFile(path, text);
  }
  return folder;
}

/** Runs with environment variables set, or taken away. */
async function withEnv<T>(
  values: Record<string, string | undefined>,
  run: () => Promise<T>,
): Promise<T> {
  const before = Object.keys(values).map((name) => [name, Deno.env.get(name)] as const);
  const set = (name: string, value: string | undefined) =>
    value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
  for (const [name, value] of Object.entries(values)) set(name, value);
  try {
    return await run();
  } finally {
    for (const [name, value] of before) set(name, value);
  }
}

/** Loads without what the machine's user has. */
function load(options: LoadConfigOptions, env: Record<string, string | undefined> = {}) {
  return withEnv(
    { HOME: "/nonexistent", HUTCH_CONFIG: undefined, ...env },
    () => loadConfig(options),
  );
}

async function refused(options: LoadConfigOptions, env = {}): Promise<HutchError> {
  try {
    await load(options, env);
  } catch (error) {
    assert(error instanceof HutchError, String(error));
    assert(!error.message.includes("\n") && !error.message.includes("\x1b"), error.message);
    return error;
  }
  assert.fail("it was taken");
}

const CPUS = (cpus: number) => `export default { defaults: { cpus: ${cpus} } };`;

Deno.test("loadConfig finds the nearest file upward, .ts before .js before .mjs, then in home", async () => {
  await using folder = await folderWith({
    "hutch.config.ts": CPUS(1),
    "a/hutch.config.mjs": CPUS(2),
    "a/hutch.config.js": CPUS(3),
    "a/b/c/none": "",
    "a/d/hutch.config.ts/none": "", // a folder of that name is no configuration
  });
  await using home = await folderWith({ "hutch.config.js": CPUS(9) });
  await using empty = new TempFolder();
  const cpus = async (at: string, env = {}) => (await load({ folder: at }, env)).defaults.cpus;
  assert.equal(await cpus(folder.path), 1);
  assert.equal(await cpus(join(folder.path, "a")), 3);
  assert.equal(await cpus(join(folder.path, "a/b/c")), 3);
  assert.equal(await cpus(join(folder.path, "a/d")), 3);
  assert.equal(await cpus(empty.path), undefined);
  assert.equal(await cpus(empty.path, { HOME: home.path }), 9);
  assert.equal(await cpus(folder.path, { HOME: home.path }), 1);
});

Deno.test("loadConfig takes the file named by option before HUTCH_CONFIG before a search", async () => {
  await using folder = await folderWith({
    "hutch.config.ts": CPUS(1),
    "two.ts": CPUS(2),
    "three.ts": CPUS(3),
  });
  const at = folder.path;
  const env = { HUTCH_CONFIG: join(at, "two.ts") };
  const found = async (options: LoadConfigOptions, env = {}) => {
    const { configPath, defaults } = await load({ folder: at, ...options }, env);
    return [configPath, defaults.cpus];
  };
  assert.deepEqual(await found({}), [join(at, "hutch.config.ts"), 1]);
  assert.deepEqual(await found({}, env), [join(at, "two.ts"), 2]);
  assert.deepEqual(await found({}, { HUTCH_CONFIG: "" }), [join(at, "hutch.config.ts"), 1]);
  assert.deepEqual(await found({ config: "./three.ts" }, env), [join(at, "three.ts"), 3]);
  assert.deepEqual(await found({ config: false }, env), [undefined, undefined]);
});

Deno.test("loadConfig refuses a found file of another user, but not one that is named", {
  ignore: Deno.uid() !== 0, // only root can give files away
}, async () => {
  await using folder = await folderWith({ "hutch.config.ts": CPUS(1) });
  const path = join(folder.path, "hutch.config.ts");
  await Deno.chown(path, 4242, 4242);
  const error = await refused({ folder: folder.path });
  assert.equal(error.code, "invalid_option");
  assert.match(error.message, /it belongs to user 4242, and you are 0$/);
  assert.match(error.hint ?? "", /--config.*--no-config/);
  assert.equal((await load({ folder: folder.path, config: path })).defaults.cpus, 1);
  // A link to a file of ours is the stranger's choice as well.
  await Deno.rename(path, join(folder.path, "mine.ts"));
  await Deno.chown(join(folder.path, "mine.ts"), 0, 0);
  await Deno.symlink("mine.ts", path);
  assert.equal((await load({ folder: folder.path })).defaults.cpus, 1);
  await new Deno.Command("chown", { args: ["-h", "4242", path] }).output();
  assert.match((await refused({ folder: folder.path })).message, /user 4242/);
});

Deno.test("loadConfig gives plugins of the file, then of specifiers, and the URLs they came from", async () => {
  await using folder = await folderWith({
    "hutch.config.ts": `export default {
      plugins: ["./plugins/one.ts", { name: "two" }],
      registries: { "R:5000": { insecure: true, mirrors: ["m.test/p"] }, "a.test": { ca: ["ca.pem"] } },
      credentialHelper: "pass",
      imageLimits: { maxBytes: 1e9 },
      parallelDownloads: 2,
      preboot: false,
    };`,
    "plugins/one.ts": 'export default { name: "one" };',
    "list.ts": 'export default async () => [{ name: "three" }, { name: "four" }];',
  });
  const url = (name: string) => pathToFileURL(join(folder.path, name)).href;
  const inline = "data:text/javascript,export default { name: 'five' }";
  const loaded = await load({ folder: folder.path, plugins: ["list.ts", inline] });
  const names = ["one", "two", "three", "four", "five"];
  assert.deepEqual(loaded.plugins.map(({ name }) => name), names);
  assert.deepEqual(loaded.pluginSpecifiers, [url("hutch.config.ts"), url("list.ts"), inline]);
  assert.deepEqual(loaded.registries, {
    "r:5000": { insecure: true, mirrors: ["m.test/p"] },
    "a.test": { ca: [join(folder.path, "ca.pem")] },
  });
  assert.equal(loaded.credentialHelper, "pass");
  assert.deepEqual(loaded.imageLimits, { maxBytes: 1e9 });
  assert.equal(loaded.parallelDownloads, 2);
  assert.equal(loaded.preboot, false);
  // Another process that loads these has the same plugins.
  const again = await load({ config: false, plugins: loaded.pluginSpecifiers });
  assert.deepEqual(again.plugins.map(({ name }) => name), names);
});

Deno.test("Runtime.open takes what loadConfig gives and puts defaults under what create is told", async () => {
  await using folder = await folderWith({
    "hutch.config.ts": `export default {
      defaults: { memory: "128m", engine: "qemu", env: { A: "1", B: "1" }, labels: { x: "1" } },
      plugins: ["./seen.ts"],
    };`,
    "seen.ts": `export const seen = [];
      export default {
        name: "seen",
        operations: { create: { before(input) { seen.push(input); throw new Error("enough"); } } },
      };`,
  });
  const config = await load({ folder: folder.path });
  await using runtime = await Runtime.open({ ...config, home: join(folder.path, "home") });
  assert.deepEqual(runtime.pluginSpecifiers, config.pluginSpecifiers);
  await assert.rejects(
    runtime.create({ image: "builtin:busybox", engine: "auto", env: { B: "2" } }),
    { code: "plugin_failed", message: 'Plugin "seen" failed in "create.before": enough' },
  );
  const { seen } = await import(pathToFileURL(join(folder.path, "seen.ts")).href);
  assert.deepEqual(seen, [{
    image: "builtin:busybox",
    memory: "128m",
    engine: "auto",
    env: { A: "1", B: "2" },
    labels: { x: "1" },
  }]);
  const report = await runtime.doctor();
  assert.equal(report.config, join(folder.path, "hutch.config.ts"));
  assert.deepEqual(report.plugins, ["seen"]);
});

for (
  const [why, text, message] of [
    ["a syntax error", "export default {{;", /^SyntaxError: Unexpected token.*plugin\.ts:1:17\)$/],
    [
      "an import that fails",
      'import "./no.ts";',
      /^Module not found ".*\/no\.ts".*plugin\.ts:1:8\)$/,
    ],
    ["a top level that throws", 'throw new Error("boom\\nmore")', /^boom$/],
    ["no default export", "export const x = 1;", /^it has no default export$/],
    ["a number", "export default 1;", /^it is 1, not a plugin$/],
    ["a list in a list", "export default [[]];", /^it is a list, not a plugin$/],
    [
      "a function that throws",
      'export default () => { throw new Error("no\\nkey"); };',
      /^its default export threw: no$/,
    ],
    [
      "a function that gives nothing",
      "export default () => {};",
      /^it is undefined, not a plugin$/,
    ],
    ["no name", "export default { stages: {} };", /^a plugin has a name, and it has none$/],
    ["an empty name", 'export default { name: "" };', /^its name is ""$/],
    [
      "an unknown key",
      'export default { name: "x", stage: {} };',
      /^it has an unknown key "stage" \(did you mean "stages"\?\)$/,
    ],
    [
      "an unknown key like no other",
      'export default { name: "x", zzzzz: {} };',
      /^it has an unknown key "zzzzz" \(known are name, order, /,
    ],
    [
      "an unknown stage",
      'export default { name: "x", stages: { bot: {} } };',
      /"stages\.bot" \(did you mean "stages\.boot"\?\)$/,
    ],
    [
      "an unknown part of a hook",
      'export default { name: "x", operations: { exec: { befor() {} } } };',
      /"operations\.exec\.befor" \(did you mean "operations\.exec\.before"\?\)$/,
    ],
    [
      "a hook that isn't one",
      'export default { name: "x", stages: { boot() {} } };',
      /^its stages\.boot is a function, not a hook$/,
    ],
    [
      "a part that can't be called",
      'export default { name: "x", stages: { boot: { before: 1 } } };',
      /^its stages\.boot\.before is 1, not a function$/,
    ],
    [
      "an unknown event",
      'export default { name: "x", on: { "box.start"() {} } };',
      /"on\.box\.start" \(did you mean "on\.box\.started"\?\)$/,
    ],
    [
      "an unknown query",
      'export default { name: "x", resolve: { volumes() {} } };',
      /did you mean "resolve\.volume"/,
    ],
    [
      "slots that aren't objects",
      'export default { name: "x", on: [] };',
      /^its on is a list, not an object$/,
    ],
    [
      "an unknown hook of networks",
      'export default { name: "x", network: { onRequests() {} } };',
      /did you mean "network\.onRequest"/,
    ],
    [
      "a hook of networks that can't be called",
      'export default { name: "x", network: { onDns: {} } };',
      /^its network\.onDns is an object, not a function$/,
    ],
    [
      "another order",
      'export default { name: "x", order: "first" };',
      /^its order is "first", not "pre" or "post"$/,
    ],
    [
      "a setup that can't be called",
      'export default { name: "x", setup: {} };',
      /^its setup is an object, not a function$/,
    ],
    [
      "an engine that isn't one",
      'export default { name: "x", engines: [{ name: "e" }] };',
      /^its engines has an object, not an engine$/,
    ],
    [
      "a source that isn't one",
      'export default { name: "x", sources: { s: {} } };',
      /^its sources\.s is an object, not an image source$/,
    ],
    [
      "a name of hutch's own",
      'export default { name: "qemu" };',
      /^its name "qemu" is taken by hutch itself$/,
    ],
  ] as const
) {
  Deno.test(`loadConfig refuses a plugin with ${why}, in one line that names it`, async () => {
    await using folder = await folderWith({ "plugin.ts": text });
    const error = await refused({ folder: folder.path, plugins: ["./plugin.ts"] });
    assert.equal(error.code, "plugin_failed");
    const start = 'Cannot load plugin "./plugin.ts": ';
    assert(error.message.startsWith(start), error.message);
    assert.match(error.message.slice(start.length), message);
  });
}

Deno.test("loadConfig refuses what isn't there, and the same name twice, naming both", async () => {
  await using folder = await folderWith({
    "a.ts": 'export default { name: "same" };',
    "b.ts": 'export default { name: "same" };',
  });
  const at = folder.path;
  const missing = await refused({ folder: at, plugins: ["no.ts"] });
  assert.equal(missing.message, 'Cannot load plugin "no.ts": there is no such module');
  assert(missing.cause instanceof TypeError);
  const twice = await refused({ folder: at, plugins: ["a.ts", "./b.ts"] });
  assert.equal(
    twice.message,
    'Cannot load plugin "./b.ts": its name "same" is taken by plugin "a.ts"',
  );
  const config = await refused({ folder: at, config: "no.ts" });
  assert.equal(config.message, "Cannot use configuration no.ts: it isn't there");
  const folderGiven = await refused({ folder: at, config: "." });
  assert.equal(folderGiven.message, "Cannot use configuration .: it is not a file");
});

for (
  const [text, message] of [
    ["export default 1;", /its default export is 1, not an object$/],
    ["export default { plugin: [] };", /unknown key "plugin" \(did you mean "plugins"\?\)$/],
    ["export default { plugins: {} };", /its plugins is an object, not a list$/],
    [
      "export default { defaults: { cpu: 1 } };",
      /"defaults\.cpu" \(did you mean "defaults\.cpus"\?\)$/,
    ],
    ["export default { defaults: { name: 'x' } };", /unknown key "defaults\.name"/],
    ["export default { defaults: { env: { A: 1 } } };", /its defaults\.env\.A is 1, not text$/],
    ["export default { defaults: { labels: [] } };", /its labels is a list, not an object$/],
    [
      "export default { parallelDownloads: 0 };",
      /its parallelDownloads is 0, not a positive integer$/,
    ],
    ["export default { preboot: 1 };", /its preboot is 1, not true or false$/],
    ["export default { credentialHelper: 1 };", /its credentialHelper is 1, not text$/],
    ["export default { imageLimits: { maxByte: 1 } };", /did you mean "imageLimits\.maxBytes"/],
    [
      'export default { imageLimits: { maxBytes: "1g" } };',
      /its imageLimits\.maxBytes is "1g", not a positive integer$/,
    ],
    ["export default { registries: [] };", /its registries is a list, not an object$/],
    [
      "export default { registries: { insecure: ['r.test'] } };",
      /Cannot use registry "insecure": it isn't a host name with a dot or a port$/,
    ],
    [
      "export default { registries: { 'a.test': true } };",
      /registries\["a\.test"\] is true, not an/,
    ],
    [
      "export default { registries: { 'a.test': {}, 'https://A.test/v2/': {} } };",
      /its registries names a\.test twice$/,
    ],
    [
      "export default { registries: { 'a.test': { mirror: [] } } };",
      /did you mean "registries\["a\.test"\]\.mirrors"|mirrors/,
    ],
    [
      "export default { registries: { 'a.test': { mirrors: ['x/../y'] } } };",
      /Cannot use registry "x"/,
    ],
    [
      "export default { registries: { 'a.test': { mirrors: ['m.test/../y'] } } };",
      /Cannot use mirror "m\.test\/\.\.\/y": it isn't host/,
    ],
    [
      "export default { registries: { 'a.test': { insecure: 1 } } };",
      /insecure is 1, not true or false$/,
    ],
    [
      "export default { registries: { 'a.test': { insecure: true, ca: ['x'] } } };",
      /insecure is true, but ca/,
    ],
    ["export default { registries: { 'a.test': { ca: 'x' } } };", /\.ca is not a list of texts$/],
    [
      "export default { registries: { 'a.test': { clientCertificate: { cert: 'x' } } } };",
      /doesn't have the paths cert and key$/,
    ],
    [
      "export default { registries: { 'a.test': { credentials: { username: 'secret' } } } };",
      /registries\["a\.test"\]\.credentials isn't username and password, token, or identityToken/,
    ],
  ] as const
) {
  Deno.test(`loadConfig refuses the configuration ${text}`, async () => {
    await using folder = await folderWith({ "hutch.config.ts": text });
    const error = await refused({ folder: folder.path });
    assert.equal(error.code, "invalid_option");
    const start = `Cannot use configuration ${join(folder.path, "hutch.config.ts")}: `;
    assert(error.message.startsWith(start), error.message);
    assert.match(error.message, message);
  });
}
