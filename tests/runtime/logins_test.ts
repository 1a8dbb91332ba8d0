import assert from "node:assert/strict";
import {
  definePlugin,
  type Plugin,
  Runtime,
  type RuntimeOptions,
  type SourceRequest,
} from "../../mod.ts";
import { FakeRegistry } from "../support/fake_registry.ts";
import { TempFolder } from "../support/temp.ts";

/** Lets in nobody who pulls, everybody who logs in, and remembers who came. */
class Doorman extends FakeRegistry {
  readonly names: string[] = [];

  constructor() {
    super();
    this.misbehave = (request, url) => {
      const told = request.headers.get("authorization");
      if (told !== null) this.names.push(atob(told.replace("Basic ", "")).split(":")[0] ?? "");
      return told !== null && url.pathname === "/v2/"
        ? Response.json({})
        : new Response(null, { status: 401, headers: { "www-authenticate": "Basic" } });
    };
  }
}

/** Who comes to the door when an image is pulled. */
async function cameAs(doorman: Doorman, options: RuntimeOptions): Promise<string[]> {
  doorman.names.length = 0;
  await using runtime = await Runtime.open(options);
  await assert.rejects(async () => await runtime.images.pull(`${doorman.host}/a/b:1`), {
    code: "registry_denied",
  });
  return doorman.names;
}

Deno.test("Runtime asks its options, then plugins, then hutch login, then Docker for credentials", async () => {
  await using folder = new TempFolder();
  await using doorman = new Doorman();
  const home = `${folder.path}/home`;
  const docker = Deno.env.get("DOCKER_CONFIG");
  Deno.env.set("DOCKER_CONFIG", folder.path);
  try {
    await Deno.writeTextFile(
      `${folder.path}/config.json`,
      JSON.stringify({ auths: { [doorman.host]: { auth: btoa("docker:p") } } }),
    );
    assert.deepEqual(await cameAs(doorman, { home }), ["docker"]);
    {
      await using runtime = await Runtime.open({ home });
      const { host } = doorman;
      assert.deepEqual(
        await runtime.images.login(host, { username: "login", password: "p" }),
        { registry: host, checked: true },
      );
    }
    assert.deepEqual(await cameAs(doorman, { home }), ["login"]);
    const plugin: Plugin = definePlugin({
      name: "credentials",
      resolve: {
        credentials: ({ registry }) =>
          registry === doorman.host ? { username: "plugin", password: "p" } : undefined,
      },
    });
    assert.deepEqual(await cameAs(doorman, { home, plugins: [plugin] }), ["plugin"]);
    const credentials = { username: "options", password: "p" };
    const registries = { [doorman.host]: { credentials } };
    assert.deepEqual(await cameAs(doorman, { home, plugins: [plugin], registries }), ["options"]);
    {
      await using runtime = await Runtime.open({ home });
      assert.equal(await runtime.images.logout(`http://${doorman.host}/v2/`), true);
      assert.equal(await runtime.images.logout(doorman.host), false);
    }
    assert.deepEqual(await cameAs(doorman, { home }), ["docker"]);
  } finally {
    if (docker === undefined) Deno.env.delete("DOCKER_CONFIG");
    else Deno.env.set("DOCKER_CONFIG", docker);
  }
});

Deno.test("Runtime tells sources how registries are spoken to, but no secrets", async () => {
  await using folder = new TempFolder();
  const asked: SourceRequest[] = [];
  const spy = definePlugin({
    name: "spy",
    sources: {
      spy: {
        canonical: (reference) => reference,
        open: (request) => {
          asked.push(request);
          return Promise.reject(new Error("enough"));
        },
      },
    },
  });
  const credentials = { username: "me", password: "s3cr3t-word" };
  const registries = { "A.test": { mirrors: ["m.test"], credentials } };
  await using runtime = await Runtime.open({ home: folder.path, plugins: [spy], registries });
  await assert.rejects(async () => await runtime.images.pull("spy:x"));
  const [request] = asked;
  assert.deepEqual([...request?.registries ?? []], [["a.test", { mirrors: ["m.test"] }]]);
  assert.deepEqual(await request?.credentials("a.test"), credentials);
});

Deno.test("Runtime.open refuses settings of registries that make no sense", async () => {
  await using folder = new TempFolder();
  const open = (registries: NonNullable<RuntimeOptions["registries"]>) =>
    Runtime.open({ home: folder.path, registries });
  await assert.rejects(open({ "a.test/b": {} }), { code: "invalid_option" });
  await assert.rejects(open({ "a.test": { insecure: true, ca: ["x"] } }), {
    code: "invalid_option",
    message: 'Cannot open a runtime: its registries["a.test"].insecure is true, but ca and ' +
      "clientCertificate are for TLS",
  });
  assert.deepEqual([...Deno.readDirSync(folder.path)], []);
});

Deno.test("Images.login ends when it is cancelled, and keeps nothing", async () => {
  await using folder = new TempFolder();
  await using registry = new FakeRegistry();
  const cancel = new AbortController();
  const { promise, resolve } = Promise.withResolvers<undefined>();
  registry.misbehave = () => {
    cancel.abort();
    return promise;
  };
  await using runtime = await Runtime.open({ home: folder.path });
  const named = { username: "me", password: "p" };
  await assert.rejects(runtime.images.login(registry.host, named, { signal: cancel.signal }), {
    code: "cancelled",
  });
  resolve(undefined);
  assert.equal(await runtime.images.logout(registry.host), false);
});
