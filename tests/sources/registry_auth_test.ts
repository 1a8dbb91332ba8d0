import assert from "node:assert/strict";
import type { Credentials, ErrorCode } from "../../mod.ts";
import { HutchError } from "../../src/errors.ts";
import type { SourceImage } from "../../src/images/source.ts";
import {
  breakingResponse,
  FakeRegistry,
  memoryImage,
  someBytes,
} from "../support/fake_registry.ts";
import { openImage, type OpenOptions, readBlob, rejectsWith } from "../support/registry_source.ts";
import { TokenRegistry } from "../support/token_registry.ts";

const LAYERS = [1, 2, 3].map((seed) => someBytes(1000, seed));
const IMAGE = memoryImage(LAYERS);
const FOREVER = new AbortController().signal;
const REPOSITORY = "a/b";

function open(registry: FakeRegistry, options: OpenOptions = {}): Promise<SourceImage> {
  return openImage(`${registry.host}/${REPOSITORY}:1`, options);
}

async function readAll(image: SourceImage): Promise<void> {
  await Promise.all(IMAGE.layers.map(async (digest) => {
    const { body } = await image.blob(digest, { offset: 0, signal: FOREVER });
    await new Response(body).bytes();
  }));
}

Deno.test("registrySource gets an anonymous token once for a whole image", async () => {
  await using registry = new TokenRegistry(IMAGE);
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
  await using registry = new TokenRegistry(IMAGE);
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
  await using registry = new TokenRegistry(IMAGE);
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
  await using registry = new TokenRegistry(IMAGE);
  const { issue } = registry;
  registry.issue = (request, url) =>
    request.headers.get("authorization") === `Basic ${btoa("me:p:w")}`
      ? issue(request, url)
      : new Response(null, { status: 401 });
  const as = (host: string) =>
    host === registry.host ? { username: "me", password: "p:w" } : undefined;
  await using image = await open(registry, { as });
  assert.equal(image.digest, IMAGE.digest);
  await rejectsWith(open(registry), "registry_denied", /gives no token/);
});

Deno.test("registrySource gives its password to a registry that asks for it", async () => {
  await using registry = new TokenRegistry(IMAGE);
  registry.challenge = 'Basic realm="registry"';
  const asking = registry.misbehave;
  registry.misbehave = (request, url) => {
    const expected = `Basic ${new TextEncoder().encode("me:pä").toBase64()}`;
    return request.headers.get("authorization") === expected ? undefined : asking(request, url);
  };
  const named = { as: () => ({ username: "me", password: "pä" }) };
  await using image = await open(registry, named);
  assert.equal(image.digest, IMAGE.digest);
  const wrong = { as: () => ({ username: "me", password: "x" }) };
  await rejectsWith(open(registry, wrong), "registry_denied", /doesn't take the credentials/);
  await rejectsWith(open(registry), "registry_denied", /asks for credentials/);
});

Deno.test("registrySource takes a password of several lines, such as a key's file", async () => {
  await using registry = new TokenRegistry(IMAGE);
  const password = '{\n  "private_key": "ä\\n"\n}\r\n\0';
  registry.challenge = "Basic";
  const asking = registry.misbehave;
  registry.misbehave = (request, url) => {
    const basic = request.headers.get("authorization")?.replace("Basic ", "") ?? "";
    const told = new TextDecoder().decode(Uint8Array.fromBase64(basic));
    return told === `_json_key:${password}` ? undefined : asking(request, url);
  };
  await using image = await open(registry, { as: () => ({ username: "_json_key", password }) });
  assert.equal(image.digest, IMAGE.digest);
});

Deno.test("registrySource is denied when its token isn't taken", async () => {
  await using registry = new TokenRegistry(IMAGE);
  registry.issue = () => Response.json({ token: "useless" });
  await rejectsWith(open(registry), "registry_denied", /answers 401/);
  await rejectsWith(
    open(registry, { as: () => ({ token: "useless" }) }),
    "registry_denied",
    /doesn't take the credentials/,
  );
});

Deno.test("registrySource asks whom to be once, and only when the registry wants to know", async () => {
  await using registry = new TokenRegistry(IMAGE);
  const asked: string[] = [];
  const as = (host: string) => {
    asked.push(host);
    return { username: "me", password: "secret" };
  };
  {
    await using image = await open(registry, { as });
    registry.valid.clear(); // the token runs out
    await readAll(image);
  }
  assert.deepEqual(asked, [registry.host]);
  await using willing = new FakeRegistry();
  willing.addImage(`${REPOSITORY}:1`, IMAGE);
  await using _image = await open(willing, { as });
  assert.deepEqual(asked, [registry.host]);
  for (const { headers } of willing.requests) assert.equal(headers.get("authorization"), null);
});

Deno.test("registrySource gives a ready token to the registry, not to its token server", async () => {
  await using registry = new TokenRegistry(IMAGE);
  registry.valid.add("ready");
  await using image = await open(registry, { as: () => ({ token: "ready" }) });
  await readAll(image);
  assert.equal(registry.tokens.requests.length, 0);
  registry.challenge = 'Basic realm="x"';
  registry.valid.clear();
  await rejectsWith(
    open(registry, { as: () => ({ token: "ready" }) }),
    "registry_denied",
    /doesn't take the credentials/,
  );
});

Deno.test("registrySource logs in nowhere that the registry merely sent it to", async () => {
  await using registry = new TokenRegistry(IMAGE);
  await using thief = new FakeRegistry();
  thief.misbehave = (_request, url) =>
    url.pathname === "/token" ? Response.json({ token: "x" }) : new Response(null, {
      status: 401,
      headers: { "www-authenticate": `Bearer realm="http://${thief.host}/token", Basic` },
    });
  const asking = registry.misbehave;
  registry.misbehave = async (request, url) =>
    await asking(request, url) ??
      (url.pathname.includes("/blobs/")
        ? Response.redirect(`http://${thief.host}/stored`, 307)
        : undefined);
  const as = () => ({ username: "me", password: "secret" });
  await using image = await open(registry, { as });
  const reading = image.blob(IMAGE.layers[0] ?? "", { offset: 0, signal: FOREVER });
  await rejectsWith(reading, "registry_denied", /answers 401/);
  assert.deepEqual(thief.requests.map(({ path }) => path), ["/stored"]);
  assert.equal(thief.requests[0]?.headers.get("authorization"), null);
});

Deno.test("registrySource carries no password along a token server's redirect", async () => {
  await using registry = new TokenRegistry(IMAGE);
  await using other = new FakeRegistry();
  registry.valid.add("x");
  other.misbehave = () => Response.json({ token: "x" });
  registry.issue = () => Response.redirect(`http://${other.host}/token`, 307);
  await using _image = await open(registry, { as: () => ({ username: "me", password: "p" }) });
  assert.equal(other.requests.length, 1);
  assert.equal(other.requests[0]?.headers.get("authorization"), null);
});

Deno.test("registrySource sends a password in plain HTTP only where that is allowed", async () => {
  await using registry = new TokenRegistry(IMAGE);
  // A name that no resolver knows: a request would fail otherwise than the refusal.
  registry.challenge = 'Bearer realm="http://tokens.invalid/token"';
  const as = () => ({ username: "me", password: "p" });
  await rejectsWith(open(registry, { as }), "registry_failed", /names no safe token server/);
  const registries = { "tokens.invalid": { insecure: true } };
  await rejectsWith(open(registry, { as, registries }), "registry_unreachable", /tokens\.invalid/);
});

const UNFIT: readonly (readonly [Credentials, RegExp])[] = [
  [{ username: "me:secret", password: "p" }, /user name has a colon/],
  [{ username: "me\nsecret", password: "p" }, /user name/],
  [{ token: "secret word" }, /token/],
  [{ token: "secret\nword" }, /token/],
  [{ token: "" }, /token/],
];

for (const [credentials, problem] of UNFIT) {
  Deno.test(`registrySource refuses ${JSON.stringify(credentials)} without repeating it`, async () => {
    await using registry = new TokenRegistry(IMAGE);
    await assert.rejects(open(registry, { as: () => credentials }), (error) => {
      assert.ok(error instanceof HutchError);
      assert.equal(error.code, "invalid_option");
      assert.match(error.message, problem);
      assert.doesNotMatch(Deno.inspect(error), /secret/);
      return true;
    });
    assert.equal(registry.tokens.requests.length, 0);
  });
}

const NO_TOKEN: readonly (readonly [string, () => Response, ErrorCode, RegExp])[] = [
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
    await using registry = new TokenRegistry(IMAGE);
    registry.issue = answer;
    await rejectsWith(open(registry), code, problem);
  });
}

const REALMS = ["", "token", "file:///etc/passwd", "ftp://127.0.0.1/", "http://me:pw@127.0.0.1/"];

for (const realm of REALMS) {
  Deno.test(`registrySource asks no token server at ${JSON.stringify(realm)}`, async () => {
    await using registry = new TokenRegistry(IMAGE);
    registry.challenge = `Bearer realm="${realm}"`;
    await rejectsWith(open(registry), "registry_failed", /names no safe token server/);
    assert.equal(registry.tokens.requests.length, 0);
  });
}

Deno.test("registrySource is denied without a challenge that it knows", async () => {
  await using registry = new TokenRegistry(IMAGE);
  for (const challenge of [null, "", "Negotiate", 'Digest realm="x"', ",,,", "\u00ff"]) {
    registry.challenge = challenge;
    await rejectsWith(open(registry), "registry_denied", /asks for credentials/);
  }
});

const SECRET = "s3cr3t-word";

/** Answers of a token server that takes one refresh token, and gives another with each token. */
function exchanging(registry: TokenRegistry, forms: URLSearchParams[], rotate: boolean): void {
  let wanted = SECRET;
  registry.issue = async (request) => {
    const form = new URLSearchParams(await request.text());
    forms.push(form);
    if (request.method !== "POST" || form.get("refresh_token") !== wanted) {
      return new Response(null, { status: 401 });
    }
    if (rotate) wanted = `${SECRET}-${forms.length}`;
    const token = `token-${forms.length}`;
    registry.valid.add(token);
    return Response.json({
      access_token: token,
      expires_in: 300,
      ...rotate ? { refresh_token: wanted } : {},
    });
  };
}

for (const rotate of [false, true]) {
  Deno.test(`registrySource exchanges an identity token by a form, ${rotate ? "a new one each time" : "the same each time"}`, async () => {
    await using registry = new TokenRegistry(IMAGE);
    const forms: URLSearchParams[] = [];
    exchanging(registry, forms, rotate);
    await using image = await open(registry, { as: () => ({ identityToken: SECRET }) });
    registry.valid.clear(); // the token runs out
    await readAll(image);
    assert.equal(forms.length, 2);
    assert.deepEqual(Object.fromEntries(forms[0] ?? []), {
      grant_type: "refresh_token",
      refresh_token: SECRET,
      client_id: "hutch",
      service: 'the "service"',
      scope: `repository:${REPOSITORY}:pull`,
    });
    for (const { headers } of registry.tokens.requests) {
      assert.equal(headers.get("authorization"), null);
      assert.equal(headers.get("content-type"), "application/x-www-form-urlencoded;charset=UTF-8");
    }
  });
}

Deno.test("registrySource says that an identity token isn't taken, without repeating it", async () => {
  await using registry = new TokenRegistry(IMAGE);
  const as = () => ({ identityToken: SECRET });
  registry.issue = () => new Response(null, { status: 401 });
  await rejectsWith(open(registry, { as }), "registry_denied", /refuses the credentials/, SECRET);
  registry.challenge = "Basic";
  await rejectsWith(
    open(registry, { as }),
    "registry_denied",
    /it doesn't take the credentials/,
    SECRET,
  );
});

Deno.test("registrySource sends no form where a token server redirects it", async () => {
  await using registry = new TokenRegistry(IMAGE);
  await using thief = new FakeRegistry();
  for (const target of [thief, registry.tokens]) {
    registry.issue = (_request, url) =>
      url.pathname === "/token"
        ? Response.redirect(`http://${target.host}/elsewhere`, 307)
        : Response.json({ token: "x" });
    const opening = open(registry, { as: () => ({ identityToken: SECRET }) });
    await rejectsWith(opening, "registry_failed", /isn't a safe address/, SECRET);
  }
  assert.deepEqual(thief.requests, []);
  assert.ok(registry.tokens.paths.every((path) => path === "/token"));
});

Deno.test("registrySource renews a token before it is too old", async () => {
  await using registry = new TokenRegistry(IMAGE);
  registry.issue = () => {
    registry.valid.clear();
    const token = `token-${registry.tokens.requests.length}`;
    registry.valid.add(token);
    return Response.json({ token, expires_in: 0.001 });
  };
  await using image = await open(registry);
  for (const digest of IMAGE.layers) {
    const until = performance.now() + 2;
    while (performance.now() < until) { /* the token grows old */ }
    await readBlob(image, digest);
  }
  const refused = registry.requests.filter(({ headers }) => headers.get("authorization") === null);
  assert.equal(refused.length, 1);
  const used = registry.requests.map(({ headers }) => headers.get("authorization"));
  assert.equal(new Set(used).size, used.length, "each request has a token of its own");
});

Deno.test("registrySource asks again for a token that broke off", async () => {
  await using registry = new TokenRegistry(IMAGE);
  const { issue } = registry;
  registry.issue = (request, url) =>
    registry.tokens.requests.length === 1
      ? breakingResponse(new TextEncoder().encode('{"token":"to'))
      : issue(request, url);
  await using image = await open(registry);
  assert.equal(image.digest, IMAGE.digest);
  assert.equal(registry.tokens.requests.length, 2);
});

Deno.test("registrySource uses an old token as long as there is no new one", async () => {
  await using registry = new TokenRegistry(IMAGE);
  registry.valid.add("old");
  registry.issue = () => Response.json({ token: "old", expires_in: 0.000001 });
  await using image = await open(registry);
  registry.issue = () => new Response(null, { status: 500 });
  await readBlob(image, IMAGE.layers[0] ?? "");
  assert.equal(registry.requests.at(-1)?.headers.get("authorization"), "Bearer old");
  assert.ok(registry.tokens.requests.length > 1);
});

Deno.test("registrySource asks for each of the scopes that a registry names", async () => {
  await using registry = new TokenRegistry(IMAGE);
  registry.challenge = `Bearer realm="http://${registry.tokens.host}/token",scope="a:b:c  d:e:f"`;
  let scopes: readonly string[] = [];
  const { issue } = registry;
  registry.issue = (request, url) => {
    scopes = url.searchParams.getAll("scope");
    return issue(request, url);
  };
  await using _image = await open(registry);
  assert.deepEqual(scopes, ["a:b:c", "d:e:f"]);
});

Deno.test("registrySource is nobody where logins can't be read, and says so when that isn't enough", async () => {
  await using registry = new TokenRegistry(IMAGE);
  const as = () => {
    throw new HutchError("credentials_unavailable", "Cannot use helper x: it failed", {
      hint: "look there",
    });
  };
  await using image = await open(registry, { as });
  assert.equal(image.digest, IMAGE.digest);
  const problem = /gives no token for it; cannot use helper x: it failed$/;
  registry.issue = () => new Response(null, { status: 401 });
  await rejectsWith(open(registry, { as }), "registry_denied", problem);
  await assert.rejects(open(registry, { as }), { hint: "look there" });
  registry.challenge = "Basic";
  await rejectsWith(open(registry, { as }), "registry_denied", /asks for credentials; cannot use/);
  // Anything else that keeps us from knowing is a reason to stop.
  const broken = () => {
    throw new HutchError("plugin_failed", "Cannot ask");
  };
  await rejectsWith(open(registry, { as: broken }), "plugin_failed", /Cannot ask/);
});

Deno.test("registrySource shows no secret that a registry repeats", async () => {
  await using registry = new TokenRegistry(IMAGE);
  registry.challenge = "Basic";
  registry.misbehave = (request) => {
    const told = request.headers.get("authorization");
    if (told === null) {
      return new Response(null, { status: 401, headers: { "www-authenticate": "Basic" } });
    }
    const message = `no ${told} and ${SECRET} here`;
    return Response.json({ errors: [{ code: "DENIED", message }] }, { status: 403 });
  };
  const basic = btoa(`me:${SECRET}`);
  await rejectsWith(
    open(registry, { as: () => ({ username: "me", password: SECRET }) }),
    "registry_denied",
    /answers 403: no Basic … and … here$/,
    ...[SECRET, basic],
  );
  // One that can be anywhere in a text can't be told from it.
  const short = open(registry, { as: () => ({ username: "me", password: "e" }) });
  await rejectsWith(short, "registry_denied", /answers 403$/);
});

Deno.test("registrySource tells who was refused what would help", async () => {
  await using registry = new TokenRegistry(IMAGE);
  registry.issue = () => new Response(null, { status: 401 });
  const { host } = registry;
  await assert.rejects(open(registry), {
    hint: `check the image's name; a private image needs credentials (hutch login ${host})`,
  });
  await assert.rejects(open(registry, { as: () => ({ username: "me", password: SECRET }) }), {
    message:
      `Cannot log in to ${host}: token server ${registry.tokens.host} refuses the credentials`,
    hint: `check user name and password, and log in again (hutch login ${host})`,
  });
});
