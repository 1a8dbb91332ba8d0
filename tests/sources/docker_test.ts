import assert from "node:assert/strict";
import { join } from "node:path";
import { canonicalDockerReference, dockerSource } from "../../plugins/sources/docker.ts";
import { watched } from "../../plugins/sources/docker/answer.ts";
import { digestOf } from "../../src/images/digest.ts";
import { parsePlatform } from "../../src/images/platform.ts";
import type { KnownImage, SourceImage } from "../../src/images/source.ts";
import { type EngineImage, FakeEngine } from "../doubles/docker_engine.ts";
import { configOf, savedByDocker, savedByOldDocker } from "../support/docker_archive.ts";
import { breakingResponse, memoryImage, someBytes } from "../support/fake_registry.ts";
import "../support/native.ts";
import { PODMAN_TOOLS, TempPodman } from "../support/podman.ts";
import { rejects } from "../support/rejects.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";

const IMAGE = memoryImage([someBytes(400_000), someBytes(1000, 2)]);
const OTHER = memoryImage([someBytes(10, 3)]);
const ID = configOf(IMAGE);
const SAVED: EngineImage = {
  image: IMAGE,
  tags: ["image:1"],
  architecture: "amd64",
  entries: savedByOldDocker({ image: IMAGE, tags: ["image:1"] }),
};
const FOREVER = new AbortController().signal;
const HEX = "0123456789abcdef".repeat(4);

const OPEN_ENGINE = `
import { dockerSource } from "${import.meta.resolve("../../plugins/sources/docker.ts")}";
const open = dockerSource().sources.docker.open;
const platform = { os: "linux", architecture: "amd64" };
await open({ reference: "x", platform, signal: new AbortController().signal })
  .catch(({ code, message, hint }) => console.log(\`\${code}: \${message}: \${hint}\`));
`;

interface OpenOptions {
  readonly host: string | undefined;
  readonly timeoutMs?: number;
  readonly known?: KnownImage;
  readonly signal?: AbortSignal;
}

function open(
  reference: string,
  { host, timeoutMs, known, signal = FOREVER }: OpenOptions,
): Promise<SourceImage> {
  const source = dockerSource({
    ...(host === undefined ? {} : { host }),
    ...(timeoutMs === undefined ? {} : { timeoutMs, exportTimeoutMs: timeoutMs }),
  }).sources?.["docker"];
  assert.ok(source);
  return source.open({
    reference,
    platform: parsePlatform("linux/amd64"),
    credentials: () => Promise.resolve(undefined),
    known,
    signal,
  });
}

async function read(image: SourceImage, digest: string): Promise<void> {
  const { body } = await image.blob(digest, { offset: 0, signal: FOREVER });
  assert.equal(digestOf(await new Response(body).bytes()), digest);
}

/** Runs with these variables of the environment, undefined for none. */
async function withEnv(
  values: Readonly<Record<string, string | undefined>>,
  run: () => Promise<void>,
): Promise<void> {
  const set = (name: string, value: string | undefined) =>
    value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
  const before = Object.keys(values).map((name) => [name, Deno.env.get(name)] as const);
  for (const [name, value] of Object.entries(values)) set(name, value);
  try {
    await run();
  } finally {
    for (const [name, value] of before) set(name, value);
  }
}

const REFERENCES: readonly (readonly [string, string])[] = [
  ["debian", "docker.io/library/debian:latest"],
  ["localhost/mine:1", "localhost/mine:1"],
  [HEX, `sha256:${HEX}`],
  [`sha256:${HEX}`, `sha256:${HEX}`],
  [`debian:12@sha256:${HEX}`, `docker.io/library/debian@sha256:${HEX}`],
];

/** What a first look at `image:1` leaves for the next one. */
async function seen(host: string): Promise<KnownImage> {
  await using image = await open("image:1", { host });
  const { digest, manifest } = image;
  return { digest, manifest, resolvedDigest: image.resolvedDigest ?? "" };
}

for (const [text, canonical] of REFERENCES) {
  Deno.test(`canonicalDockerReference spells ${text} out`, () => {
    assert.equal(canonicalDockerReference(text), canonical);
    assert.equal(canonicalDockerReference(canonical), canonical);
  });
}

Deno.test("dockerSource opens an engine's image by its name and its id", async () => {
  for (const where of ["unix", "tcp"] as const) {
    await using engine = new FakeEngine(where);
    engine.add(SAVED);
    for (const reference of ["image:1", "docker.io/library/image:1", ID, ID.slice(7)]) {
      await using image = await open(reference, { host: engine.host });
      assert.equal(image.resolvedDigest, ID);
      for (const digest of [ID, ...IMAGE.layers]) await read(image, digest);
    }
    const exports = engine.requests.filter((path) => path.endsWith("/get"));
    assert.deepEqual([...new Set(exports)], [`/images/${ID}/get`], "no name that moves meanwhile");
  }
});

Deno.test("dockerSource asks for an image that is known by its id alone", async () => {
  await using engine = new FakeEngine();
  engine.add(SAVED);
  const { host } = engine;
  const known = await seen(host);
  engine.requests.length = 0;
  await using image = await open("image:1", { host, known });
  assert.deepEqual([image.digest, image.manifest], [known.digest, known.manifest]);
  assert.deepEqual(engine.requests, ["/images/docker.io/library/image:1/json"]);
  await Promise.all([ID, ...IMAGE.layers, ...IMAGE.layers].map((digest) => read(image, digest)));
  assert.equal(engine.requests.length, 2, "one export for all");
  const stale = { ...known, resolvedDigest: `sha256:${HEX}`, digest: `sha256:${HEX}` };
  await using fresh = await open("image:1", { host, known: stale });
  assert.equal(fresh.digest, known.digest);
});

Deno.test("dockerSource goes on when the one whose export all waited for is cancelled", async () => {
  await using engine = new FakeEngine();
  engine.add(SAVED);
  const { host } = engine;
  const known = await seen(host);
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  engine.misbehave = async (path) => {
    if (!path.endsWith("/get")) return undefined;
    asked.resolve();
    await answer.promise;
  };
  await using image = await open("image:1", { host, known });
  const abort = new AbortController();
  const [layer = ""] = IMAGE.layers;
  const first = image.blob(layer, { offset: 0, signal: abort.signal });
  await asked.promise;
  const second = read(image, layer);
  abort.abort();
  await rejects(first, "cancelled", /it was cancelled/);
  answer.resolve();
  await second;
});

Deno.test("dockerSource chooses in an export with more than was asked for", async () => {
  await using engine = new FakeEngine();
  const entries = savedByDocker({ image: OTHER }, { image: IMAGE });
  engine.add({ ...SAVED, entries });
  await using image = await open("image:1", { host: engine.host });
  await read(image, ID);
  engine.remove();
  engine.add({ ...SAVED, entries, id: `sha256:${HEX}` });
  await rejects(open("image:1", { host: engine.host }), "invalid_image", /has 2 images/);
  engine.remove();
  const one = savedByDocker({ image: IMAGE });
  engine.add({ ...SAVED, entries: one, id: `sha256:${HEX}` }); // the id of an index, say
  await using same = await open("image:1", { host: engine.host });
  assert.equal(same.digest, image.digest);
});

Deno.test("dockerSource says what an engine hasn't, and how to get it", async () => {
  await using engine = new FakeEngine();
  engine.add({ ...SAVED, architecture: "s390x" });
  const { host } = engine;
  await assert.rejects(open("none", { host }), {
    code: "image_not_found",
    message: `Cannot find docker:docker.io/library/none:latest: ${host} has no such image`,
    hint: /docker pull/,
  });
  await rejects(open("image:1", { host }), "platform_unsupported", /linux\/s390x/);
  assert.ok(!engine.requests.some((path) => path.endsWith("/get")), "nothing was exported");
});

Deno.test("dockerSource says why no engine answers", async () => {
  await using folder = new TempFolder();
  const none = join(folder.path, "none.sock");
  await assert.rejects(open("x", { host: `unix://${none}` }), {
    code: "registry_unreachable",
    message: `Cannot reach a container engine: unix://${none}: isn't there`,
    hint: /systemctl start docker.*DOCKER_HOST/,
  });
  const left = join(folder.path, "left.sock");
  await Deno.writeTextFile(left, "");
  await rejects(open("x", { host: `unix://${left}` }), "registry_unreachable", /nobody listens/);
  const port = freePort();
  await rejects(
    open("x", { host: `tcp://127.0.0.1:${port}` }),
    "registry_unreachable",
    /refused/,
  );
});

Deno.test("dockerSource says how to be let in where it mayn't speak to the engine", async () => {
  await using engine = new FakeEngine();
  await Deno.chmod(engine.host.slice("unix://".length), 0);
  // Root may speak to everybody, unless it gives that up.
  const [program = "", ...args] = [
    ...Deno.uid() === 0 ? ["setpriv", "--bounding-set=-dac_override"] : [],
    ...[Deno.execPath(), "eval", "--no-check", OPEN_ENGINE],
  ];
  const { stdout, stderr } = await new Deno.Command(program, {
    args,
    env: { DOCKER_HOST: engine.host },
  }).output();
  const said = new TextDecoder().decode(stdout);
  const expected = /^registry_denied: .*: permission denied: let your user use its socket/;
  assert.match(said, expected, new TextDecoder().decode(stderr));
});

Deno.test("dockerSource goes to no other machine, and understands nothing else", async () => {
  for (const host of ["tcp://192.0.2.1:2375", "tcp://example.com:2375", "http://[2001:db8::1]:1"]) {
    await rejects(open("x", { host }), "invalid_option", /on another machine/);
  }
  for (
    const host of ["ssh://me@host", "unix://relative", "tcp://127.0.0.1", "tcp://h:99999", "x\n"]
  ) {
    await rejects(open("x", { host }), "invalid_option", /can't be understood/);
  }
});

Deno.test("dockerSource takes DOCKER_HOST, else the first usual socket that answers", async () => {
  await using engine = new FakeEngine();
  engine.add(SAVED);
  const socket = engine.host.slice("unix://".length);
  await withEnv({ DOCKER_HOST: engine.host }, async () => {
    await using _image = await open("image:1", { host: undefined });
  });
  for (const real of ["/var/run/docker.sock", "/run/podman/podman.sock"]) {
    if (await exists(real)) return; // a real engine would answer here
  }
  await using user = new TempFolder();
  await Deno.mkdir(join(user.path, "podman"));
  await Deno.writeTextFile(join(user.path, "docker.sock"), ""); // of an engine that has ended
  await withEnv({ DOCKER_HOST: "", XDG_RUNTIME_DIR: user.path }, async () => {
    await rejects(open("x", { host: undefined }), "registry_unreachable", /docker\.sock: nobody/);
    await Deno.symlink(socket, join(user.path, "podman/podman.sock"));
    await using _image = await open("image:1", { host: undefined });
  });
});

Deno.test("dockerSource refuses what no engine says", async () => {
  await using engine = new FakeEngine();
  engine.add(SAVED);
  const { host } = engine;
  const json = (text: string) => (path: string) =>
    path.endsWith("/json") ? new Response(text) : undefined;
  const get = (body: BodyInit) => (path: string) =>
    path.endsWith("/get") ? new Response(body) : undefined;
  const cases: readonly (readonly [typeof engine.misbehave, string, RegExp])[] = [
    [json("secret"), "invalid_image", /isn't JSON$/],
    [json("{}"), "invalid_image", /Id isn't text/],
    [json('{"Id":"../x","Architecture":"amd64"}'), "invalid_image", /Id: digest/],
    [json(" ".repeat(9_000_000)), "registry_unreachable", /larger than/],
    [get("no archive"), "invalid_image", /isn't a tar archive/],
    [get(writeTar()), "image_not_found", /no file manifest\.json/],
    [get(writeTar(...SAVED.entries).slice(0, 300_000)), "invalid_image", /cuts off/],
    [
      (path) =>
        path.endsWith("/json") ? Response.redirect("http://localhost/elsewhere") : undefined,
      "registry_failed",
      /answers 302/,
    ],
    [
      () => Response.json({ message: "out\nof order" }, { status: 500 }),
      "registry_failed",
      /answers 500: "out\\nof order"/,
    ],
  ];
  for (const [misbehave, code, problem] of cases) {
    engine.misbehave = misbehave;
    await rejects(open("image:1", { host }), code, problem);
  }
});

Deno.test("watched tells of each piece", async () => {
  let told = 0;
  const body = ReadableStream.from([1, 2, 3].map((size) => new Uint8Array(size)));
  for await (const piece of watched(body, () => told++)) assert.equal(piece.length, told);
  assert.equal(told, 3);
});

Deno.test("dockerSource doesn't wait for ever, and keeps nothing when it gives up", async () => {
  await using folder = new TempFolder();
  const left = () =>
    [...Deno.readDirSync(folder.path)].filter(({ name }) => !name.startsWith("hutch-test-"));
  await withEnv({ TMPDIR: folder.path }, async () => {
    for (const silent of ["/json", "/get"]) {
      const ended = Promise.withResolvers<undefined>();
      await using engine = new FakeEngine();
      engine.add(SAVED);
      engine.misbehave = (path) => path.endsWith(silent) ? ended.promise : undefined;
      const opening = open("image:1", { host: engine.host, timeoutMs: 50 });
      await rejects(opening, "registry_unreachable", /says nothing for 50 ms/);
      ended.resolve(undefined);
    }
    for (const how of ["silent", "breaks", "cancelled"]) {
      await using engine = new FakeEngine();
      engine.add(SAVED);
      const abort = new AbortController();
      const archive = writeTar(...SAVED.entries);
      const given = Promise.withResolvers<void>();
      let sent = false;
      const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
        pull(controller) {
          if (!sent) {
            sent = true;
            return controller.enqueue(archive.slice(0, 200_000));
          }
          given.resolve();
          return new Promise(() => {});
        },
      });
      engine.misbehave = (path) =>
        !path.endsWith("/get")
          ? undefined
          : how === "breaks"
          ? breakingResponse(archive.slice(0, 200_000))
          : new Response(body);
      const timeoutMs = how === "silent" ? 50 : 60_000;
      const opening = open("image:1", { host: engine.host, timeoutMs, signal: abort.signal });
      const failing = rejects(
        opening,
        how === "cancelled" ? "cancelled" : "registry_unreachable",
        how === "silent" ? /says nothing/ : how === "breaks" ? /Cannot get docker:/ : /cancelled/,
      );
      if (how === "cancelled") {
        await given.promise;
        abort.abort();
      }
      await failing;
      assert.deepEqual(left(), [], how);
    }
  });
});

Deno.test("dockerSource ends an unfinished export when the image is disposed", async () => {
  await using engine = new FakeEngine();
  engine.add(SAVED);
  const { host } = engine;
  const known = await seen(host);
  const asked = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<undefined>();
  engine.misbehave = (path) => {
    if (!path.endsWith("/get")) return undefined;
    asked.resolve();
    return ended.promise;
  };
  const image = await open("image:1", { host, known });
  const reading = rejects(
    image.blob(IMAGE.layers[0] ?? "", { offset: 0, signal: FOREVER }),
    "cancelled",
    /cancelled/,
  );
  await asked.promise;
  await image[Symbol.asyncDispose]();
  await reading;
  ended.resolve(undefined);
});

const podman = needs(...PODMAN_TOOLS);

Deno.test(
  `dockerSource opens what Podman has${podman.note}`,
  { ignore: podman.ignore },
  async () => {
    await using podman = new TempPodman();
    await using service = await podman.serve();
    const layers = [writeTar({ path: "a", data: "a\n" }), writeTar({ path: "b", data: "b\n" })];
    const image = memoryImage(layers);
    const id = configOf(image);
    const entries = savedByOldDocker({ image, tags: ["docker.io/library/image:1"] });
    using client = Deno.createHttpClient({ proxy: { transport: "unix", path: service.socket } });
    const body = writeTar(...entries);
    const loaded = await fetch("http://localhost/images/load", { client, method: "POST", body });
    assert.match(await loaded.text(), /Loaded image: docker\.io\/library\/image:1/);
    const host = `unix://${service.socket}`;
    let digest = "";
    for (const reference of ["image:1", id]) {
      await using opened = await open(reference, { host });
      assert.equal(opened.resolvedDigest, id);
      for (const blob of [id, ...image.layers]) await read(opened, blob);
      digest = opened.digest;
    }
    await using engine = new FakeEngine();
    engine.add({ ...SAVED, image, entries });
    await using opened = await open("image:1", { host: engine.host });
    assert.equal(opened.digest, digest, "the same manifest whoever exports it");
    await rejects(open("none", { host }), "image_not_found", /no such image/);
  },
);

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
