import assert from "node:assert/strict";
import { join } from "node:path";
import {
  breakingResponse,
  FakeRegistry,
  memoryImage,
  type Misbehaviour,
  someBytes,
} from "../support/fake_registry.ts";
import { openImage, readBlob, rejectsWith } from "../support/registry_source.ts";

const LAYER = someBytes(3000);
const IMAGE = memoryImage([LAYER]);
const [DIGEST = ""] = IMAGE.layers;
const SECRET = "s3cr3t-word";

/** Serves the image, and remembers when it was asked, by `performance.now()`. */
function serving(misbehave: Misbehaviour = () => undefined): {
  registry: FakeRegistry;
  times: number[];
} {
  const registry = new FakeRegistry();
  registry.addImage("a/b:1", IMAGE);
  const times: number[] = [];
  registry.misbehave = (request, url) => {
    times.push(performance.now());
    return misbehave(request, url);
  };
  return { registry, times };
}

/** How long the source waits before it asks again, at least, after an answer to its first request. */
async function pauseAfter(answer: () => Response): Promise<number> {
  const { registry, times } = serving(() => times.length === 1 ? answer() : undefined);
  await using _registry = registry;
  await using image = await openImage(`${registry.host}/a/b:1`);
  assert.equal(image.digest, IMAGE.digest);
  assert.equal(times.length, 2);
  return (times[1] ?? 0) - (times[0] ?? 0);
}

Deno.test("registrySource waits as long as Retry-After says, in seconds or until a time", async () => {
  const limited = (header: string) => () =>
    new Response(null, { status: 429, headers: { "retry-after": header } });
  const until = Math.ceil((Date.now() + 1000) / 1000) * 1000; // such dates have no parts of seconds
  const [seconds, date, past, nonsense] = await Promise.all([
    pauseAfter(limited("1")),
    pauseAfter(limited(new Date(until).toUTCString())).then(() => Date.now()),
    pauseAfter(limited("Wed, 21 Oct 2015 07:28:00 GMT")),
    pauseAfter(limited("soon")),
  ]);
  assert.ok(seconds >= 999, String(seconds));
  assert.ok(date >= until, `${date} < ${until}`);
  assert.ok(past < 900 && nonsense < 900, `${past} ${nonsense}`);
});

Deno.test("registrySource waits longer each time, and not as long as everybody else", async () => {
  const { random } = Math;
  try {
    for (const drawn of [0, 0.999]) {
      Math.random = () => drawn;
      const { registry, times } = serving(() =>
        times.length < 3 ? new Response(null, { status: 503 }) : undefined
      );
      await using _registry = registry;
      const options = { retryDelayMs: 40 };
      await using _image = await openImage(`${registry.host}/a/b:1`, { options });
      const [first = 0, second = 0, third = 0] = times;
      const factor = 0.5 + drawn;
      assert.ok(second - first >= 40 * factor - 1, String(second - first));
      assert.ok(third - second >= 80 * factor - 1, String(third - second));
    }
  } finally {
    Math.random = random;
  }
});

Deno.test("registrySource shows no signed address in its errors", async () => {
  await using storage = new FakeRegistry();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const closed = `127.0.0.1:${listener.addr.port}`;
  listener.close();
  const cases: readonly (readonly [string, () => Response, RegExp])[] = [
    [closed, () => new Response(), /Cannot reach .*refused/],
    [storage.host, () => new Response(null, { status: 403 }), /answers 403/],
    [
      storage.host,
      () => Response.redirect(`http://me:${SECRET}@127.0.0.1/?signature=${SECRET}`),
      /isn't a safe address/,
    ],
    [
      storage.host,
      () => Response.redirect(`http://${storage.host}/again?signature=${SECRET}`),
      /redirects more than 5 times/,
    ],
  ];
  for (const [host, answer, problem] of cases) {
    storage.misbehave = answer;
    const { registry } = serving((_request, url) =>
      url.pathname.includes("/blobs/")
        ? Response.redirect(`http://${host}/blob?signature=${SECRET}`, 307)
        : undefined
    );
    await using _registry = registry;
    await using image = await openImage(`${registry.host}/a/b:1`);
    await assert.rejects(readBlob(image, DIGEST), (error) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, problem);
      assert.ok(!Deno.inspect(error).includes(SECRET), Deno.inspect(error));
      return true;
    });
  }
});

Deno.test("registrySource shows no signed address when a body breaks", async () => {
  await using storage = new FakeRegistry();
  storage.misbehave = () => breakingResponse(LAYER.slice(0, 10));
  const { registry } = serving((_request, url) =>
    url.pathname.includes("/blobs/")
      ? Response.redirect(`http://${storage.host}/blob?signature=${SECRET}`, 307)
      : undefined
  );
  await using _registry = registry;
  await using image = await openImage(`${registry.host}/a/b:1`);
  await assert.rejects(readBlob(image, DIGEST), (error) => {
    assert.ok(!Deno.inspect(error).includes(SECRET), Deno.inspect(error));
    return true;
  });
});

Deno.test("registrySource asks a registry that limits requests no more than it must", async () => {
  const { registry, times } = serving(() =>
    new Response(null, { status: 429, headers: { "retry-after": "61" } })
  );
  await using _registry = registry;
  await rejectsWith(openImage(`${registry.host}/a/b:1`), "registry_failed", /answers 429/);
  assert.equal(times.length, 1);
});

Deno.test("registrySource doesn't ask for a whole blob where a part can't be had right now", async () => {
  for (const status of [401, 403, 404, 429, 503]) {
    const { registry } = serving((request) =>
      request.headers.has("range") ? new Response(null, { status }) : undefined
    );
    await using _registry = registry;
    await using image = await openImage(`${registry.host}/a/b:1`);
    await assert.rejects(readBlob(image, DIGEST, 1000));
    assert.ok(registry.requests.slice(1).every(({ headers }) => headers.has("range")));
  }
});

Deno.test("registrySource asks once for a manifest that stalls", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { registry, times } = serving(() =>
    new Response(
      new ReadableStream({
        async start(controller) {
          controller.enqueue(IMAGE.manifest.slice(0, 10));
          await promise;
          try {
            controller.close();
          } catch { /* nobody listens any more */ }
        },
      }),
    )
  );
  await using _registry = registry;
  const opening = openImage(`${registry.host}/a/b:1`, { options: { timeoutMs: 50 } });
  await rejectsWith(opening, "registry_failed", /sent nothing for 50 ms/);
  resolve();
  assert.equal(times.length, 1);
});

const OPENER = `
import { openImage } from "${new URL("../support/registry_source.ts", import.meta.url).href}";
const [reference = "", host = ""] = Deno.args;
await using image = await openImage(reference, { registries: { [host]: { insecure: true } } });
console.log(image.digest);
`;

Deno.test("registrySource goes through the proxy that the environment names, or past it", async () => {
  await using proxy = new FakeRegistry();
  proxy.addImage("a/b:1", IMAGE);
  const script = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(script, OPENER);
    const open = async (host: string, env: Record<string, string>) => {
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", script, `${host}/a/b:1`, host],
        cwd: join(import.meta.dirname ?? "", "../.."),
        env: { HTTP_PROXY: "", HTTPS_PROXY: "", NO_PROXY: "", ...env },
      }).output();
      const decoder = new TextDecoder();
      return decoder.decode(stdout).trim() || decoder.decode(stderr);
    };
    const HTTP_PROXY = `http://${proxy.host}`;
    // A name that no resolver knows, but its proxy does.
    assert.equal(await open("registry.invalid", { HTTP_PROXY }), IMAGE.digest);
    assert.equal(proxy.requests.length, 1);
    const { registry } = serving();
    await using _registry = registry;
    assert.equal(await open(registry.host, { HTTP_PROXY, NO_PROXY: "127.0.0.1" }), IMAGE.digest);
    assert.equal(proxy.requests.length, 1);
  } finally {
    await Deno.remove(script);
  }
});
