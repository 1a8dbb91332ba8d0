import assert from "node:assert/strict";
import { definePlugin, type Plugin, PluginError, type StageHook, type Stages } from "../../mod.ts";
import { PluginHost } from "../../src/plugin/host.ts";

type Configure = StageHook<Stages["configure"]["input"], Stages["configure"]["output"]>;
const SCOPE = { signal: new AbortController().signal };
const INPUT: Stages["configure"]["input"] = {
  hostname: "h",
  grow: false,
  volumes: [],
  network: { mode: "none" },
};

/** A host of these plugins, set up. */
async function open(
  plugins: readonly Plugin[],
  log: (line: string) => void = () => {},
): Promise<PluginHost> {
  const host = new PluginHost(plugins, {
    log,
    runtime: () => assert.fail("there is no runtime"),
    boxOf: () => undefined,
    record: () => {},
  });
  try {
    await host.setUp();
  } catch (error) {
    await host[Symbol.asyncDispose]();
    throw error;
  }
  return host;
}

function plugin(name: string, hook: Configure, order?: "pre" | "post"): Plugin {
  return definePlugin({ name, stages: { configure: hook }, ...(order ? { order } : {}) });
}

async function run(
  plugins: readonly Plugin[],
  core = (_: typeof INPUT) => Promise.resolve({ ms: 1 }),
) {
  await using host = await open(plugins);
  return await host.run("configure", INPUT, SCOPE, core);
}

Deno.test("PluginHost runs before in order and after in reverse, pre and post where they belong", async () => {
  const said: string[] = [];
  const speak = (name: string): Configure => ({
    before: () => void said.push(`${name}>`),
    after: () => void said.push(`<${name}`),
  });
  await run([
    plugin("last", speak("last"), "post"),
    plugin("a", speak("a")),
    plugin("b", speak("b")),
    plugin("first", speak("first"), "pre"),
  ]);
  assert.deepEqual(said, ["first>", "a>", "b>", "last>", "<last", "<b", "<a", "<first"]);
});

Deno.test("PluginHost lets before change the input, wrap retry, after change the output", async () => {
  let tries = 0;
  const output = await run([
    plugin("change", { before: (input) => ({ ...input, hostname: "other" }) }),
    plugin("retry", {
      wrap: async (input, next) => {
        for (;;) {
          try {
            return await next(input);
          } catch {
            // again
          }
        }
      },
    }),
    plugin("count", { after: (made) => ({ ms: made.ms + 100 }) }),
  ], (input) => {
    assert.equal(input.hostname, "other");
    if (++tries < 3) return Promise.reject(new Error("not yet"));
    return Promise.resolve({ ms: tries });
  });
  assert.deepEqual(output, { ms: 103 });
});

Deno.test("PluginHost lets wrap answer without the core", async () => {
  const output = await run(
    [plugin("instead", { wrap: () => ({ ms: 7 }) })],
    () => assert.fail("the core ran"),
  );
  assert.deepEqual(output, { ms: 7 });
});

for (
  const [part, hook] of [
    ["before", { before: () => refuse() }],
    ["wrap", { wrap: () => refuse() }],
    ["after", { after: () => refuse() }],
  ] as const
) {
  Deno.test(`PluginHost names the plugin that throws in ${part}, not those around it`, async () => {
    const error = await run([
      plugin("outer", { wrap: (input, next) => next(input) }),
      plugin("guilty", hook),
    ]).then(() => undefined, (error: unknown) => error);
    assert.ok(error instanceof PluginError);
    assert.deepEqual([error.plugin, error.hook], ["guilty", `configure.${part}`]);
    assert.match(error.message, /"guilty".*refused/);
  });
}

Deno.test("PluginHost leaves the core's own errors as they are", async () => {
  const own = new Error("the core's");
  const error = await run(
    [plugin("around", { wrap: (input, next) => next(input) })],
    () => Promise.reject(own),
  ).then(() => undefined, (error: unknown) => error);
  assert.equal(error, own);
});

Deno.test("PluginHost asks until the first answer", async () => {
  const asked: string[] = [];
  const answer = (name: string, value: string | undefined): Plugin =>
    definePlugin({
      name,
      resolve: {
        engine: () => {
          asked.push(name);
          return value;
        },
      },
    });
  await using host = await open(
    [answer("passes", undefined), answer("knows", "qemu"), answer("late", "libkrun")],
    () => {},
  );
  assert.equal(await host.ask("engine", { box: "b", usable: [] }, SCOPE), "qemu");
  assert.deepEqual(asked, ["passes", "knows"]);
});

Deno.test("PluginHost keeps failing and hanging listeners away from whoever emits", async () => {
  const log: string[] = [];
  const heard: number[] = [];
  const hanging = Promise.withResolvers<void>();
  {
    await using host = await open([
      definePlugin({
        name: "throws",
        on: {
          "stage.finished": () => {
            throw new Error("broken");
          },
        },
      }),
      definePlugin({ name: "hangs", on: { "stage.finished": () => hanging.promise } }),
      definePlugin({ name: "hears", on: { "stage.finished": ({ ms }) => void heard.push(ms) } }),
    ], (line) => void log.push(line));
    host.emit("stage.finished", { box: "b", name: "n", stage: "boot", ms: 5 });
    assert.deepEqual(heard, [], "a listener runs after the caller has gone on");
  }
  assert.deepEqual(heard, [5]);
  assert.deepEqual(log, ['plugin "throws" failed in on "stage.finished": broken']);
  hanging.resolve();
});

Deno.test("PluginHost gives listeners a moment to end when it closes, and tells them nothing after it", async () => {
  const log: string[] = [];
  const said: string[] = [];
  const slow = Promise.withResolvers<void>();
  const host = await open([
    definePlugin({
      name: "slow",
      on: {
        "stage.finished": async ({ stage }) => {
          said.push(stage);
          await slow.promise;
        },
      },
      setup: () => ({ [Symbol.dispose]: () => void said.push("disposed of") }),
    }),
  ], (line) => void log.push(line));
  for (const stage of ["boot", "connect", "configure"] as const) {
    host.emit("stage.finished", { box: "b", name: "n", stage, ms: 5 });
  }
  await host[Symbol.asyncDispose]();
  slow.resolve();
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(said, ["boot", "disposed of"]);
  assert.equal(log.length, 1);
  assert.match(
    log[0] ?? "",
    /"slow" failed in on "stage.finished": it is too slow: 2 events were not told/,
  );
});

Deno.test("PluginHost disposes of what was set up, in reverse, when opening fails half way", async () => {
  const said: string[] = [];
  const set = (name: string): Plugin =>
    definePlugin({
      name,
      setup: () => {
        said.push(`+${name}`);
        return { [Symbol.asyncDispose]: () => Promise.resolve(void said.push(`-${name}`)) };
      },
    });
  await assert.rejects(
    open([set("a"), set("b"), definePlugin({ name: "c", setup: refuse })], () => {}),
    (error: unknown) =>
      error instanceof PluginError && error.plugin === "c" && error.hook === "setup",
  );
  assert.deepEqual(said, ["+a", "+b", "-b", "-a"]);
});

Deno.test("PluginHost refuses an engine that keeps memory and would stop its box process for that", async () => {
  const memory = { save: refuse };
  const engines = [{ name: "e", runner: "file:///e.ts", probe: refuse, memory }];
  await assert.rejects(open([{ name: "a", engines }], () => {}), {
    code: "invalid_option",
    message: /engine "e" of plugin "a": it keeps memory and has no pauser/,
  });
  const pauser = { pause: refuse, resume: refuse, isPaused: refuse };
  await (await open([{ name: "a", engines: engines.map((one) => ({ ...one, pauser })) }], () => {}))
    [Symbol.asyncDispose]();
});

Deno.test("PluginHost refuses a name, an engine or a scheme given twice", async () => {
  const source = { canonical: (text: string) => text, open: refuse };
  const engines = [{ name: "e", runner: "file:///e.ts", probe: refuse }];
  for (
    const [a, b, message] of [
      [{ name: "same" }, { name: "same" }, /plugin "same" twice/],
      [{ name: "a", engines }, { name: "b", engines }, /engine "e" twice: plugins "a" and "b"/],
      [
        { name: "a", sources: { x: source } },
        { name: "b", sources: { x: source } },
        /image scheme "x" twice: plugins "a" and "b"/,
      ],
    ] as const
  ) {
    await assert.rejects(open([a, b], () => {}), { code: "invalid_option", message });
  }
});

function refuse(): never {
  throw new Error("refused");
}

Deno.test("PluginHost tells a plugin's failure to the others, not to itself", async () => {
  const heard: string[] = [];
  const listen = (name: string): Plugin =>
    definePlugin({
      name,
      on: { "plugin.failed": ({ plugin }) => void heard.push(`${name} of ${plugin}`) },
      ...name === "bad" ? { resolve: { secret: () => assert.fail("no") } } : {},
    });
  {
    await using host = await open([listen("bad"), listen("other")]);
    await assert.rejects(host.ask("secret", { box: "b", name: "n" }, SCOPE));
  }
  assert.deepEqual(heard, ["other of bad"]);
});
