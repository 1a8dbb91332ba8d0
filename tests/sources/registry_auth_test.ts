import assert from "node:assert/strict";
import { type RegistryOptions, registrySource } from "../../plugins/sources/registry.ts";
import { parseChallenges } from "../../plugins/sources/registry/challenge.ts";
import { HutchError } from "../../src/errors.ts";
import { parsePlatform } from "../../src/images/platform.ts";
import type { SourceImage } from "../../src/images/source.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";

const LAYERS = [1, 2, 3].map((seed) => someBytes(1000, seed));
const IMAGE = memoryImage(LAYERS);
const FOREVER = new AbortController().signal;
const REPOSITORY = "a/b";

async function open(registry: FakeRegistry, options: RegistryOptions = {}): Promise<SourceImage> {
  const source = registrySource({ retryDelayMs: 1, ...options }).sources?.["registry"];
  assert.ok(source);
  return await source.open({
    reference: `${registry.host}/${REPOSITORY}:1`,
    platform: parsePlatform("linux/amd64"),
    insecureRegistries: [],
    signal: FOREVER,
  });
}

async function readAll(image: SourceImage): Promise<void> {
  await Promise.all(IMAGE.layers.map(async (digest) => {
    const { body } = await image.blob(digest, { offset: 0, signal: FOREVER });
    await new Response(body).bytes();
  }));
}

async function rejects(promise: Promise<unknown>, code: string, problem: RegExp): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, problem);
    return true;
  });
}

/** A registry that asks for tokens, and the server that gives them, which may answer otherwise. */
class TokenRegistry extends FakeRegistry {
  readonly tokens = new FakeRegistry();
  /** Tokens that open the door. */
  readonly valid = new Set<string>();
  issue: (request: Request, url: URL) => Response | Promise<Response>;
  challenge: string | null;

  constructor() {
    super();
    this.addImage(`${REPOSITORY}:1`, IMAGE);
    this.challenge =
      `Bearer realm="http://${this.tokens.host}/token",service="the \\"service\\"",` +
      `scope="repository:${REPOSITORY}:pull"`;
    this.issue = () => {
      const token = `token-${this.tokens.requests.length}`;
      this.valid.add(token);
      return Response.json({ token, expires_in: 300 });
    };
    this.tokens.misbehave = (request, url) => this.issue(request, url);
    this.misbehave = (request) => {
      const token = request.headers.get("authorization")?.replace(/^Bearer /, "");
      if (token !== undefined && this.valid.has(token)) return undefined;
      const headers = this.challenge === null ? {} : { "www-authenticate": this.challenge };
      return new Response(null, { status: 401, headers });
    };
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    await this.tokens[Symbol.asyncDispose]();
  }
}

Deno.test("registrySource gets an anonymous token once for a whole image", async () => {
  await using registry = new TokenRegistry();
  let asked: URL | undefined;
  const { issue } = registry;
  registry.issue = (request, url) => {
    asked = url;
    assert.equal(request.headers.get("authorization"), null);
    return issue(request, url);
  };
  await using image = await open(registry);
  await readAll(image);
  assert.equal(registry.tokens.requests.length, 1);
  assert.equal(asked?.searchParams.get("service"), 'the "service"');
  assert.deepEqual(asked?.searchParams.getAll("scope"), [`repository:${REPOSITORY}:pull`]);
});

Deno.test("registrySource gets a new token when the old one runs out, one for all", async () => {
  await using registry = new TokenRegistry();
  await using image = await open(registry);
  registry.valid.clear();
  const asking = registry.misbehave;
  let allHere = () => {};
  const here = new Promise<void>((resolve) => allHere = resolve);
  const before = registry.requests.length;
  registry.misbehave = async (request, url) => {
    if (registry.requests.length === before + LAYERS.length) allHere();
    await here; // so that all are refused at once
    return await asking(request, url);
  };
  await readAll(image);
  assert.equal(registry.tokens.requests.length, 2);
});

Deno.test("registrySource takes `access_token` and fills in a missing scope", async () => {
  await using registry = new TokenRegistry();
  registry.challenge = `Bearer realm="http://${registry.tokens.host}/token?x=1"`;
  let search = "";
  registry.issue = (_request, url) => {
    search = url.search;
    registry.valid.add("other");
    return Response.json({ access_token: "other" });
  };
  await using image = await open(registry);
  assert.equal(image.digest, IMAGE.digest);
  assert.equal(search, `?x=1&scope=${encodeURIComponent(`repository:${REPOSITORY}:pull`)}`);
});

Deno.test("registrySource gives its password to the token server", async () => {
  await using registry = new TokenRegistry();
  const { issue } = registry;
  registry.issue = (request, url) =>
    request.headers.get("authorization") === `Basic ${btoa("me:p:w")}`
      ? issue(request, url)
      : new Response(null, { status: 401 });
  const credentials = (host: string) =>
    host === registry.host ? { username: "me", password: "p:w" } : undefined;
  await using image = await open(registry, { credentials });
  assert.equal(image.digest, IMAGE.digest);
  await rejects(open(registry), "registry_denied", /gives no token/);
});

Deno.test("registrySource gives its password to a registry that asks for it", async () => {
  await using registry = new TokenRegistry();
  registry.challenge = 'Basic realm="registry"';
  const asking = registry.misbehave;
  registry.misbehave = (request, url) => {
    const expected = `Basic ${new TextEncoder().encode("me:pä").toBase64()}`;
    return request.headers.get("authorization") === expected ? undefined : asking(request, url);
  };
  const named = { credentials: () => ({ username: "me", password: "pä" }) };
  await using image = await open(registry, named);
  assert.equal(image.digest, IMAGE.digest);
  const wrong = { credentials: () => ({ username: "me", password: "x" }) };
  await rejects(open(registry, wrong), "registry_denied", /doesn't take the credentials/);
  await rejects(open(registry), "registry_denied", /asks for credentials/);
});

Deno.test("registrySource is denied when its token isn't taken", async () => {
  await using registry = new TokenRegistry();
  registry.issue = () => Response.json({ token: "useless" });
  await rejects(open(registry), "registry_denied", /answers 401/);
  await rejects(
    open(registry, { credentials: () => ({ token: "useless" }) }),
    "registry_denied",
    /doesn't take the credentials/,
  );
});

const NO_TOKEN: readonly (readonly [string, () => Response, string, RegExp])[] = [
  ["refuses", () => new Response(null, { status: 403 }), "registry_denied", /gives no token/],
  ["fails", () => new Response(null, { status: 500 }), "registry_failed", /answers 500/],
  ["gives a page", () => new Response("<html>"), "registry_failed", /gives no token/],
  ["gives nothing", () => Response.json({}), "registry_failed", /gives no token/],
  ["gives a list", () => Response.json([]), "registry_failed", /gives no token/],
  ["gives a number", () => Response.json({ token: 1 }), "registry_failed", /gives no token/],
  [
    "gives a line break",
    () => Response.json({ token: "a\r\nb: c" }),
    "registry_failed",
    /no token/,
  ],
  [
    "gives too much",
    () => new Response(" ".repeat(2_000_000)),
    "registry_failed",
    /gives no token/,
  ],
];

for (const [name, answer, code, problem] of NO_TOKEN) {
  Deno.test(`registrySource reports a token server that ${name}`, async () => {
    await using registry = new TokenRegistry();
    registry.issue = answer;
    await rejects(open(registry), code, problem);
  });
}

const REALMS = ["", "token", "file:///etc/passwd", "ftp://127.0.0.1/", "http://me:pw@127.0.0.1/"];

for (const realm of REALMS) {
  Deno.test(`registrySource asks no token server at ${JSON.stringify(realm)}`, async () => {
    await using registry = new TokenRegistry();
    registry.challenge = `Bearer realm="${realm}"`;
    await rejects(open(registry), "registry_failed", /names no safe token server/);
    assert.equal(registry.tokens.requests.length, 0);
  });
}

Deno.test("registrySource is denied without a challenge that it knows", async () => {
  await using registry = new TokenRegistry();
  for (const challenge of [null, "", "Negotiate", 'Digest realm="x"', ",,,", "\u00ff"]) {
    registry.challenge = challenge;
    await rejects(open(registry), "registry_denied", /asks for credentials/);
  }
});

const CHALLENGES: readonly (readonly [string, readonly (readonly [string, object])[]])[] = [
  ["Basic", [["basic", {}]]],
  ['Bearer realm="a,b=c",service=d', [["bearer", { realm: "a,b=c", service: "d" }]]],
  ['BASIC realm="x" , Bearer Realm = "y"', [["basic", { realm: "x" }], ["bearer", { realm: "y" }]]],
  ["Negotiate, Basic realm=x", [["negotiate", {}], ["basic", { realm: "x" }]]],
  ['Bearer realm="\\"q\\\\"', [["bearer", { realm: '"q\\' }]]],
  ['Bearer realm="open', [["bearer", { realm: "" }]]],
  ["", []],
  ['"nothing"', []],
  ["a".repeat(100_000), [["a".repeat(8192), {}]]],
];

for (const [header, expected] of CHALLENGES) {
  Deno.test(`parseChallenges reads ${JSON.stringify(header.slice(0, 60))}`, () => {
    const found = parseChallenges(header)
      .map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
    assert.deepEqual(found, expected);
  });
}
