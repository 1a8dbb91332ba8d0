import assert from "node:assert/strict";
import { definePlugin, type Plugin, PluginError, Runtime } from "../../mod.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { TempFolder } from "../support/temp.ts";

const IMAGE = memoryImage([someBytes(1000)]);

/** Pulls the image from a registry that wants a password, with these plugins. */
async function pull(...plugins: readonly Plugin[]): Promise<string> {
  await using home = new TempFolder();
  await using registry = new FakeRegistry();
  registry.addImage("a/b:1", IMAGE);
  registry.misbehave = (request) =>
    request.headers.get("authorization") === `Basic ${btoa("me:secret")}`
      ? undefined
      : new Response(null, { status: 401, headers: { "www-authenticate": "Basic" } });
  await using runtime = await Runtime.open({ home: home.path, plugins });
  const { digest } = await runtime.images.pull(`${registry.host}/a/b:1`, { disk: false });
  return digest;
}

const LOGIN = definePlugin({
  name: "login",
  resolve: {
    credentials: ({ registry }, { plugin, box }) => {
      assert.match(registry, /^127\.0\.0\.1:\d+$/);
      assert.deepEqual([plugin, box], ["login", undefined]);
      return { username: "me", password: "secret" };
    },
  },
});

Deno.test("Runtime asks its plugins for credentials and whether an image may be used", async () => {
  const heard: string[] = [];
  const watch = definePlugin({
    name: "watch",
    resolve: {
      verify: ({ digest }) => {
        heard.push(`verify ${digest}`);
        return undefined;
      },
    },
    on: {
      "image.pulling": ({ type }) => void heard.push(type),
      "image.pulled": ({ type, digest, ms }) => {
        assert.ok(ms >= 0);
        heard.push(`${type} ${digest}`);
      },
    },
  });
  assert.equal(await pull(LOGIN, watch), IMAGE.digest);
  assert.deepEqual(heard, [
    "image.pulling",
    `verify ${IMAGE.digest}`,
    `image.pulled ${IMAGE.digest}`,
  ]);
  await assert.rejects(pull(watch), { code: "registry_denied" });
});

Deno.test("Runtime names the plugin whose answer about an image fails", async () => {
  const broken = definePlugin({
    name: "broken",
    resolve: {
      verify: () => {
        throw new Error("no key");
      },
    },
  });
  await assert.rejects(pull(LOGIN, broken), (error) => {
    assert.ok(error instanceof PluginError);
    assert.deepEqual([error.plugin, error.hook], ["broken", "resolve.verify"]);
    return true;
  });
});

Deno.test("Runtime.create refuses an image that a plugin refuses, and records no box", async () => {
  await using home = new TempFolder();
  const strict = definePlugin({
    name: "strict",
    resolve: { verify: () => ({ ok: false, reason: "it isn't signed" }) },
  });
  await using runtime = await Runtime.open({ home: home.path, plugins: [strict] });
  await assert.rejects(runtime.create({ image: "builtin:busybox" }), {
    code: "image_refused",
    message: "Cannot use builtin:busybox: it isn't signed",
  });
  assert.deepEqual(await runtime.list({ all: true }), []);
  assert.deepEqual(await runtime.images.list(), []);
});

Deno.test("PluginError names the box that create was to make, by hook and by answer", async () => {
  await using home = new TempFolder();
  const refuses = definePlugin({
    name: "refuses",
    operations: {
      create: {
        before({ name }) {
          if (name === "hook") throw new Error("no");
        },
      },
    },
    resolve: { volume: () => Promise.reject(new Error("no")) },
  });
  await using runtime = await Runtime.open({ home: home.path, plugins: [refuses] });
  const box = { image: "builtin:busybox", volumes: ["strange:1:/x"] };
  await assert.rejects(runtime.create({ ...box, name: "hook" }), {
    message: 'Plugin "refuses" failed in "create.before" for box "hook": no',
  });
  await assert.rejects(runtime.create({ ...box, name: "answer" }), {
    message: 'Plugin "refuses" failed in "resolve.volume" for box "answer": no',
  });
  assert.deepEqual(await runtime.list({ all: true }), []);
});
