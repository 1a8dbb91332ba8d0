import assert from "node:assert/strict";
import { join } from "node:path";
import type { Credentials } from "../../mod.ts";
import { HutchError } from "../../src/errors.ts";
import { Logins } from "../../src/images/registry/credentials.ts";
import { CredentialHelpers } from "../support/credential_helper.ts";
import { TempFolder } from "../support/temp.ts";

const FOREVER = new AbortController().signal;
const SECRET = "s3cr3t-word";
const ME = { username: "me", password: SECRET };

/** A folder with Docker's configuration and hutch's file, which isn't there yet. */
class TempLogins implements AsyncDisposable {
  readonly folder = new TempFolder();
  readonly path = join(this.folder.path, "credentials.json");

  logins(options: { helper?: string; helperTimeoutMs?: number } = {}): Logins {
    return new Logins({ path: this.path, docker: this.folder.path, ...options });
  }

  /** Writes Docker's configuration. */
  async docker(config: unknown): Promise<void> {
    const text = typeof config === "string" ? config : JSON.stringify(config);
    await Deno.writeTextFile(join(this.folder.path, "config.json"), text);
  }

  async find(registry: string, timeoutMs?: number): Promise<Credentials | undefined> {
    const options = timeoutMs === undefined ? {} : { helperTimeoutMs: timeoutMs };
    return await this.logins(options).find(registry, FOREVER);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.folder[Symbol.asyncDispose]();
  }
}

async function unavailable(promise: Promise<unknown>, problem: RegExp): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, "credentials_unavailable", error.message);
    assert.match(error.message, problem);
    assert.doesNotMatch(Deno.inspect(error), /s3cr3t/);
    return true;
  });
}

Deno.test("Logins keeps a login in a file that only its owner can read, and forgets it", async () => {
  await using temp = new TempLogins();
  const logins = temp.logins();
  assert.equal(await logins.find("r.test", FOREVER), undefined);
  await logins.keep("r.test", ME, FOREVER);
  await logins.keep("docker.io", { identityToken: SECRET }, FOREVER);
  assert.equal((await Deno.stat(temp.path)).mode ?? 0 & 0o777, 0o100600);
  const again = temp.logins(); // another program
  assert.deepEqual(await again.find("r.test", FOREVER), ME);
  assert.deepEqual(await again.find("docker.io", FOREVER), { identityToken: SECRET });
  assert.equal(await again.forget("r.test", FOREVER), true);
  assert.equal(await again.forget("r.test", FOREVER), false);
  assert.equal(await logins.find("r.test", FOREVER), undefined);
  assert.doesNotMatch(await Deno.readTextFile(temp.path), /r\.test/);
});

Deno.test("Logins of several programs at once are all kept, and nothing lies around", async () => {
  await using temp = new TempLogins();
  // What a program that was killed had begun to write.
  await Deno.writeTextFile(`${temp.path}.12345678.new`, SECRET);
  const names = Array.from({ length: 20 }, (_, index) => `r${index}.test`);
  await Promise.all(names.map((name) => temp.logins().keep(name, ME, FOREVER)));
  for (const name of names) assert.deepEqual(await temp.find(name), ME);
  assert.deepEqual([...Deno.readDirSync(temp.folder.path)].map(({ name }) => name), [
    "credentials.json",
  ]);
});

const DAMAGED = ["", "{", "[]", "{}", '{"version":2,"registries":{}}', '{"version":1}'].concat(
  `{"version":1,"registries":{"r.test":{"username":"me"}}}`,
  `{"version":1,"registries":{"r.test":"${SECRET}"}}`,
  `{"version":1,"registries":{"r.test":{"password":"${SECRET}"`,
);

for (const text of DAMAGED) {
  Deno.test(`Logins says so when its file is ${JSON.stringify(text)}, and doesn't replace it`, async () => {
    await using temp = new TempLogins();
    await Deno.writeTextFile(temp.path, text);
    await unavailable(temp.find("r.test"), /Cannot read logins from .*credentials\.json: /);
    await unavailable(temp.logins().keep("r.test", ME, FOREVER), /Cannot read logins/);
    assert.equal(await Deno.readTextFile(temp.path), text);
  });
}

const base64 = (text: string) => new TextEncoder().encode(text).toBase64();

const DOCKER: readonly (readonly [string, unknown, string, Credentials | undefined])[] = [
  ["nothing", {}, "r.test", undefined],
  ["a login", { auths: { "r.test": { auth: base64("me:p:w") } } }, "r.test", {
    username: "me",
    password: "p:w",
  }],
  ["another's login", { auths: { "r.test": { auth: base64("me:p") } } }, "r.test:5000", undefined],
  ["a login by URL", { auths: { "https://R.test/v2/": { auth: base64("ä:ö") } } }, "r.test", {
    username: "ä",
    password: "ö",
  }],
  [
    "the plain name first",
    { auths: { "http://r.test": { auth: base64("a:a") }, "r.test": { auth: base64("b:b") } } },
    "r.test",
    { username: "b", password: "b" },
  ],
  [
    "Docker's own registry",
    { auths: { "https://index.docker.io/v1/": { auth: base64("me:p\0\0") } } },
    "docker.io",
    { username: "me", password: "p" },
  ],
  ["a name and a password", { auths: { "r.test": ME } }, "r.test", ME],
  [
    "an identity token",
    { auths: { "r.test": { auth: base64("me:x"), identitytoken: SECRET } } },
    "r.test",
    { identityToken: SECRET },
  ],
  ["a token's user", { auths: { "r.test": { auth: base64(`<token>:${SECRET}`) } } }, "r.test", {
    identityToken: SECRET,
  }],
  ["a ready token", { auths: { "r.test": { registrytoken: SECRET } } }, "r.test", {
    token: SECRET,
  }],
  ["an empty entry", { auths: { "r.test": {} } }, "r.test", undefined],
  ["other things", { HttpHeaders: 1, auths: null, credHelpers: null }, "r.test", undefined],
];

for (const [name, config, registry, expected] of DOCKER) {
  Deno.test(`Logins finds ${name} in Docker's configuration`, async () => {
    await using temp = new TempLogins();
    await temp.docker(config);
    assert.deepEqual(await temp.find(registry), expected);
  });
}

const BROKEN: readonly (readonly [string, RegExp])[] = [
  ["", /it isn't a JSON object/],
  [`{"auths":{"r.test":{"auth":"${SECRET}`, /it isn't a JSON object/],
  ["[]", /it isn't a JSON object/],
  [`{"auths":"${SECRET}"}`, /its auths isn't an object/],
  [`{"auths":{"r.test":"${SECRET}"}}`, /a login in its auths isn't an object/],
  [`{"auths":{"r.test":{"auth":"${SECRET}!"}}}`, /USER:PASSWORD in base64/],
  [`{"auths":{"r.test":{"auth":"${base64(SECRET)}"}}}`, /USER:PASSWORD in base64/],
  [`{"auths":{"r.test":{"auth":"${base64(`:${SECRET}`)}"}}}`, /USER:PASSWORD in base64/],
  [`{"auths":{"r.test":{"auth":1}}}`, /the auth of a login in its auths isn't text/],
  [`{"credHelpers":[]}`, /its credHelpers isn't an object/],
  [`{"credHelpers":{"r.test":1}}`, /a credential helper isn't named by text/],
];

for (const [config, problem] of BROKEN) {
  Deno.test(`Logins says what is wrong with Docker's configuration ${config}`, async () => {
    await using temp = new TempLogins();
    await temp.docker(config);
    await unavailable(temp.find("r.test"), problem);
  });
}

Deno.test("Logins prefers what hutch login was told to Docker's logins", async () => {
  await using temp = new TempLogins();
  await temp.docker({ auths: { "r.test": { auth: base64("docker:p") } } });
  await temp.logins().keep("r.test", ME, FOREVER);
  assert.deepEqual(await temp.find("r.test"), ME);
  await temp.logins().forget("r.test", FOREVER);
  assert.deepEqual(await temp.find("r.test"), { username: "docker", password: "p" });
});

Deno.test("Logins reads Docker's configuration where DOCKER_CONFIG says, else in HOME", async () => {
  await using temp = new TempLogins();
  await temp.docker({ auths: { "r.test": ME } });
  const names = ["DOCKER_CONFIG", "HOME"];
  const before = names.map((name) => [name, Deno.env.get(name)] as const);
  const logins = new Logins({ path: temp.path });
  try {
    Deno.env.set("DOCKER_CONFIG", temp.folder.path);
    assert.deepEqual(await logins.find("r.test", FOREVER), ME);
    Deno.env.delete("DOCKER_CONFIG");
    Deno.env.set("HOME", temp.folder.path);
    assert.equal(await logins.find("r.test", FOREVER), undefined);
    await Deno.mkdir(join(temp.folder.path, ".docker"));
    await Deno.rename(
      join(temp.folder.path, "config.json"),
      join(temp.folder.path, ".docker/config.json"),
    );
    assert.deepEqual(await logins.find("r.test", FOREVER), ME);
    Deno.env.delete("HOME");
    assert.equal(await logins.find("r.test", FOREVER), undefined);
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
});

Deno.test("Logins asks the helper that Docker's configuration names for a registry, else for all", async () => {
  await using temp = new TempLogins();
  await using helpers = new CredentialHelpers();
  const answering = (user: string) =>
    `read -r server; [ "$1" = get ] && echo '{"ServerURL":"'$server'","Username":"${user}","Secret":"'$server'"}'`;
  await helpers.add("one", answering("one"));
  await helpers.add("all", answering("all"));
  await helpers.add("token", answering("<token>"));
  await temp.docker({
    credsStore: "all",
    credHelpers: { "r.test": "one", "https://t.test": "token", "p.test": "" },
    auths: { "r.test": {}, "p.test": ME },
  });
  assert.deepEqual(await temp.find("r.test"), { username: "one", password: "r.test" });
  assert.deepEqual(await temp.find("t.test"), { identityToken: "t.test" });
  assert.deepEqual(await temp.find("p.test"), ME);
  assert.deepEqual(await temp.find("docker.io"), {
    username: "all",
    password: "https://index.docker.io/v1/",
  });
});

Deno.test("Logins goes on to the file when a helper knows nothing", async () => {
  await using temp = new TempLogins();
  await using helpers = new CredentialHelpers();
  await helpers.add("none", "echo credentials not found in native keychain; exit 1");
  await helpers.add("empty", `echo '{"ServerURL":"","Username":"","Secret":""}'`);
  await helpers.add("desktop", "echo No stored credential for r.test; exit 1");
  for (const credsStore of ["none", "empty", "desktop"]) {
    await temp.docker({ credsStore, auths: { "r.test": ME } });
    assert.deepEqual(await temp.find("r.test"), ME);
    assert.equal(await temp.find("other.test"), undefined);
  }
});

Deno.test("Logins takes what is in Docker's file when the helper that it names is gone", async () => {
  await using temp = new TempLogins();
  await temp.docker({ credsStore: "missing", auths: { "r.test": ME } });
  assert.deepEqual(await temp.find("r.test"), ME);
  await unavailable(temp.find("other.test"), /docker-credential-missing: it isn't there$/);
});

const HELPERS: readonly (readonly [string, string, RegExp])[] = [
  ["fails", `echo ${SECRET}; echo ${SECRET} >&2; exit 1`, /helper docker-credential-x: it failed$/],
  ["prints rubbish", `echo ${SECRET}`, /its answer isn't a user name and a secret$/],
  ["prints a list", `echo '["${SECRET}"]'`, /its answer isn't a user name/],
  ["prints no name", `echo '{"Secret":"${SECRET}"}'`, /its answer isn't a user name/],
  ["prints nothing", "true", /its answer isn't a user name/],
  ["prints without end", `while echo ${SECRET}; do :; done`, /its answer is longer than/],
  ["is killed", "kill -9 $$", /it failed$/],
];

for (const [name, script, problem] of HELPERS) {
  Deno.test(`Logins reports a helper that ${name}, without what it said`, async () => {
    await using temp = new TempLogins();
    await using helpers = new CredentialHelpers();
    await helpers.add("x", script);
    await temp.docker({ credsStore: "x" });
    await unavailable(temp.find("r.test"), problem);
  });
}

Deno.test("Logins reports a helper that isn't there, can't be run, or has no proper name", async () => {
  await using temp = new TempLogins();
  await using helpers = new CredentialHelpers();
  await temp.docker({ credsStore: "missing" });
  await unavailable(temp.find("r.test"), /docker-credential-missing: it isn't there$/);
  await helpers.add("locked", "true");
  await Deno.chmod(join(helpers.folder, "docker-credential-locked"), 0o600);
  await temp.docker({ credsStore: "locked" });
  await unavailable(temp.find("r.test"), /docker-credential-locked: it /);
  await temp.docker({ credsStore: "../x" });
  await unavailable(temp.find("r.test"), /helper "\.\.\/x": its name isn't a word$/);
});

Deno.test("Logins ends a helper that hangs, and one whose child holds its output", async () => {
  await using temp = new TempLogins();
  await using helpers = new CredentialHelpers();
  // Each sleeps under its own number, so that it is gone for sure when we look.
  await helpers.add("hangs", "echo $$ >pid; exec sleep 1000");
  await helpers.add("leaves", "sleep 1000 & echo $! >pid; echo '{'");
  for (const credsStore of ["hangs", "leaves"]) {
    await temp.docker({ credsStore });
    await unavailable(temp.find("r.test", 300), /it didn't end within 300 ms$/);
    const pid = Number(await Deno.readTextFile(join(helpers.folder, "pid")));
    if (credsStore === "leaves") Deno.kill(pid, "SIGKILL"); // no child of ours
    else assert.throws(() => Deno.kill(pid, "SIGKILL"), Deno.errors.NotFound);
  }
});

Deno.test("Logins stops waiting for a helper when it is cancelled", async () => {
  await using temp = new TempLogins();
  await using helpers = new CredentialHelpers();
  await helpers.add("hangs", "mkfifo here; read -r line <here");
  await temp.docker({ credsStore: "hangs" });
  const cancel = new AbortController();
  const finding = temp.logins().find("r.test", cancel.signal);
  cancel.abort();
  await assert.rejects(finding, { code: "cancelled" });
  await assert.rejects(temp.logins().find("r.test", cancel.signal), { code: "cancelled" });
});

Deno.test("Logins keeps new logins with the helper that hutch's configuration names", async () => {
  await using temp = new TempLogins();
  await using helpers = new CredentialHelpers();
  await helpers.addKeeper("safe");
  await temp.logins().keep("r.test", { username: "me", password: "old" }, FOREVER);
  const logins = temp.logins({ helper: "safe" });
  assert.deepEqual(await logins.find("r.test", FOREVER), { username: "me", password: "old" });
  await logins.keep("r.test", ME, FOREVER);
  await logins.keep("docker.io", { identityToken: SECRET }, FOREVER);
  assert.deepEqual(await logins.find("r.test", FOREVER), ME);
  assert.deepEqual(await logins.find("docker.io", FOREVER), { identityToken: SECRET });
  assert.doesNotMatch(await Deno.readTextFile(temp.path), /r\.test|s3cr3t/);
  await unavailable(logins.keep("r.test", { token: SECRET }, FOREVER), /Cannot keep a token/);
  assert.equal(await logins.forget("r.test", FOREVER), true);
  assert.equal(await logins.forget("r.test", FOREVER), false);
  assert.equal(await logins.find("r.test", FOREVER), undefined);
});

Deno.test("Logins reports a helper that doesn't keep or forget", async () => {
  await using temp = new TempLogins();
  await using helpers = new CredentialHelpers();
  await helpers.add(
    "broken",
    `[ $1 = get ] && echo '{"Username":"a","Secret":"${SECRET}"}' && exit; echo ${SECRET}; exit 1`,
  );
  const logins = temp.logins({ helper: "broken" });
  await unavailable(logins.keep("r.test", ME, FOREVER), /it doesn't keep it$/);
  await unavailable(logins.forget("r.test", FOREVER), /it doesn't forget it$/);
});
