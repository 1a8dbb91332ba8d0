import assert from "node:assert/strict";
import { join } from "node:path";
import { main } from "../../src/cli/main.ts";
import { CredentialHelpers } from "../support/credential_helper.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { startRegistry } from "../support/registry.ts";
import { TempFolder } from "../support/temp.ts";
import { TestAuthority } from "../support/tls.ts";
import { TokenRegistry } from "../support/token_registry.ts";
import { needs } from "../support/tools.ts";
import { memoryIo } from "./helpers.ts";

const PASSWORD = "s3cr3t-word";
const HTPASSWD = "me:$2y$05$abcdefghijklmnopqrstuu1gnH1w3qtZX3U1O7JEI3HUJtwELxlju\n";
const IMAGE = memoryImage([someBytes(100)]);

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A home without anybody's logins in it. */
class Home implements AsyncDisposable {
  readonly #folder = new TempFolder();
  readonly #docker = Deno.env.get("DOCKER_CONFIG");

  constructor() {
    Deno.env.set("DOCKER_CONFIG", this.#folder.path);
  }

  get path(): string {
    return join(this.#folder.path, "home");
  }

  /** Runs hutch with `input` piped in. */
  async hutch(args: readonly string[], input = ""): Promise<Result> {
    const io = memoryIo();
    const bytes = new TextEncoder().encode(input);
    let at = 0;
    const stdin = {
      // In small pieces, as a pipe may give them.
      read(buffer: Uint8Array): Promise<number | null> {
        const piece = bytes.subarray(at, at + Math.min(buffer.length, 5));
        buffer.set(piece);
        at += piece.length;
        return Promise.resolve(piece.length === 0 ? null : piece.length);
      },
    };
    const code = await main(["--home", this.path, "--no-config", ...args], { ...io, stdin });
    return { code, stdout: io.stdout.text, stderr: io.stderr.text };
  }

  /** What the home's file of logins says; empty when there is none. */
  async logins(): Promise<string> {
    try {
      return await Deno.readTextFile(join(this.path, "credentials.json"));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return "";
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#docker === undefined) Deno.env.delete("DOCKER_CONFIG");
    else Deno.env.set("DOCKER_CONFIG", this.#docker);
    await this.#folder[Symbol.asyncDispose]();
  }
}

/** Wants `me` and the password. */
function basicRegistry(): FakeRegistry {
  const registry = new FakeRegistry();
  registry.addImage("a/b:1", IMAGE);
  registry.misbehave = (request, url) => {
    if (request.headers.get("authorization") === `Basic ${btoa(`me:${PASSWORD}`)}`) {
      return url.pathname === "/v2/" ? Response.json({}) : undefined;
    }
    const headers = { "www-authenticate": 'Basic realm="x"' };
    return Response.json({ errors: [{ code: "UNAUTHORIZED" }] }, { status: 401, headers });
  };
  return registry;
}

const login = (host: string, ...more: readonly string[]) => [
  ...["login", "-u", "me", "--password-stdin"],
  ...more,
  host,
];

Deno.test("hutch login tries a piped password, keeps it, and pulls with it until logout", async () => {
  await using home = new Home();
  await using registry = basicRegistry();
  const { host } = registry;
  assert.deepEqual(await home.hutch(login(host), `${PASSWORD}\r\n`), {
    code: 0,
    stdout: `Logged in to ${host}\n`,
    stderr: "",
  });
  assert.deepEqual(JSON.parse(await home.logins()), {
    version: 1,
    registries: { [host]: { username: "me", password: PASSWORD } },
  });
  // The layer is no archive: that shows only once it has been fetched.
  assert.match((await home.hutch(["pull", `${host}/a/b:1`])).stderr, /cannot unpack layer/);
  assert.deepEqual(await home.hutch(["logout", host]), {
    code: 0,
    stdout: `Logged out of ${host}\n`,
    stderr: "",
  });
  assert.deepEqual(await home.hutch(["logout", host]), {
    code: 0,
    stdout: "",
    stderr: `hutch: not logged in to ${host}\n`,
  });
  const { code, stderr } = await home.hutch(["pull", `${host}/a/b:1`]);
  assert.equal(code, 125);
  assert.match(stderr, new RegExp(`it asks for credentials; .*\\(hutch login ${host}\\)\n$`));
});

Deno.test("hutch login keeps no password that the registry doesn't take", async () => {
  await using home = new Home();
  await using registry = basicRegistry();
  const { host } = registry;
  await home.hutch(login(host), PASSWORD);
  const before = await home.logins();
  const wrong = await home.hutch(login(host, "--debug"), "wr0ng");
  assert.equal(wrong.code, 125);
  const [first] = wrong.stderr.split("\n");
  assert.equal(
    first,
    `hutch: Cannot log in to ${host}: it doesn't take the credentials; check user name and password`,
  );
  assert.ok(!wrong.stderr.includes("wr0ng") && !wrong.stderr.includes(btoa("me:wr0ng")));
  assert.equal(await home.logins(), before);
});

Deno.test("hutch login takes a wrong password from a token server in the same way", async () => {
  await using home = new Home();
  await using registry = new TokenRegistry(IMAGE);
  registry.issue = () => new Response(null, { status: 401 });
  const { code, stderr } = await home.hutch(login(registry.host), "wr0ng");
  assert.equal(code, 125);
  assert.match(stderr, /token server 127\.0\.0\.1:\d+ refuses the credentials; check user name/);
  assert.equal(await home.logins(), "");
});

Deno.test("hutch login keeps the token that a registry gives in place of a password", async () => {
  await using home = new Home();
  await using registry = new TokenRegistry(IMAGE);
  const asking = registry.misbehave;
  registry.misbehave = async (request, url) =>
    await asking(request, url) ?? (url.pathname === "/v2/" ? Response.json({}) : undefined);
  let asked: URLSearchParams | undefined;
  registry.issue = (request, url) => {
    if (request.headers.get("authorization") !== `Basic ${btoa(`me:${PASSWORD}`)}`) {
      return new Response(null, { status: 401 });
    }
    asked = url.searchParams;
    registry.valid.add("t");
    return Response.json({ token: "t", refresh_token: "kept-instead" });
  };
  assert.equal((await home.hutch(login(registry.host), PASSWORD)).code, 0);
  assert.deepEqual(Object.fromEntries(asked ?? []), {
    account: "me",
    client_id: "hutch",
    offline_token: "true",
    service: 'the "service"',
  });
  assert.deepEqual(JSON.parse(await home.logins()).registries, {
    [registry.host]: { identityToken: "kept-instead" },
  });
});

Deno.test("hutch login says so where nothing is checked, and what isn't a registry", async () => {
  await using home = new Home();
  await using registry = new FakeRegistry();
  registry.misbehave = () => Response.json({});
  const open = await home.hutch(login(registry.host), PASSWORD);
  assert.deepEqual(open, {
    code: 0,
    stdout: `Logged in to ${registry.host}\n`,
    stderr: `hutch: ${registry.host} lets in everybody: the password wasn't checked\n`,
  });
  registry.misbehave = () => undefined;
  const { code, stderr } = await home.hutch(login(registry.host), PASSWORD);
  assert.equal(code, 125);
  assert.match(stderr, /it answers 404; check that the host is a registry\n$/);
});

const REFUSED: readonly (readonly [readonly string[], string, RegExp])[] = [
  [
    ["login", "-u", "me", "h.test"],
    "",
    /^hutch: Cannot ask for a password: standard input is not a terminal; give .*--password-stdin/,
  ],
  [["login", "h.test"], "", /Cannot ask for a user name: standard input is not a terminal/],
  [["login", "--password-stdin", "h.test"], PASSWORD, /needs a user name; give it with -u/],
  [["login", "-p", "x", "--password-stdin", "-u", "me", "h.test"], "", /exclude each other/],
  [login("h.test"), "", /Cannot log in to h\.test: the password is empty/],
  [login("h.test"), "\n", /Cannot log in to h\.test: the password is empty/],
  [["login", "-u", "", "--password-stdin", "h.test"], PASSWORD, /the username is empty/],
  [login("h.test"), PASSWORD.repeat(7000), /the password is longer than 65536 bytes/],
  [login("h"), PASSWORD, /it isn't a host name with a dot or a port; a registry is named/],
  [login("h.test/owner"), PASSWORD, /it has a path, .*; did you mean "h\.test"\?/],
  [login("x-.test"), PASSWORD, /isn't a host name or address/],
  [["login", "a.test", "b.test"], "", /too many arguments/],
  [["logout", "h"], "", /it isn't a host name/],
];

for (const [args, input, problem] of REFUSED) {
  Deno.test(`hutch ${args.join(" ")} with ${input.length} bytes of input is refused`, async () => {
    await using home = new Home();
    const { code, stderr } = await home.hutch(args, input);
    assert.equal(code, 125);
    assert.match(stderr, problem);
    assert.ok(!stderr.includes(PASSWORD));
    assert.equal(await home.logins(), "");
  });
}

Deno.test("hutch login refuses a name that can't be sent, without repeating it", async () => {
  await using home = new Home();
  await using registry = basicRegistry();
  const args = ["login", "-u", `me:${PASSWORD}`, "--password-stdin", registry.host];
  const { stderr } = await home.hutch(args, PASSWORD);
  assert.match(stderr, /the user name has a colon/);
  assert.ok(!stderr.includes(PASSWORD), stderr);
  assert.equal(await home.logins(), "");
});

Deno.test("hutch login takes a whole file as a password", async () => {
  await using home = new Home();
  await using registry = basicRegistry();
  registry.misbehave = (request) =>
    request.headers.get("authorization") === `Basic ${btoa('me:{\n"key":1\n}')}`
      ? Response.json({})
      : new Response(null, { status: 401, headers: { "www-authenticate": "Basic" } });
  assert.equal((await home.hutch(login(registry.host), '{\n"key":1\n}\n')).code, 0);
});

Deno.test("hutch login takes a password as an option, as Docker does, with a warning", async () => {
  await using home = new Home();
  await using registry = basicRegistry();
  const args = ["login", "-u", "me", "-p", PASSWORD, registry.host];
  const { code, stderr } = await home.hutch(args);
  assert.equal(code, 0);
  assert.match(stderr, /^hutch: --password shows the password to other users .*-stdin doesn't\n$/);
});

Deno.test("hutch login keeps passwords with the helper that the configuration names", async () => {
  await using home = new Home();
  await using helpers = new CredentialHelpers();
  await helpers.addKeeper("safe");
  await using registry = basicRegistry();
  const config = join(helpers.folder, "hutch.config.ts");
  await Deno.writeTextFile(config, 'export default { credentialHelper: "safe" };');
  const hutch = (args: readonly string[], input?: string) =>
    home.hutch(args, input).then(({ code, stderr }) => ({ code, stderr }));
  const io = ["--config", config];
  assert.deepEqual(await hutch([...io, ...login(registry.host)], PASSWORD), {
    code: 0,
    stderr: "",
  });
  assert.equal(await home.logins(), "");
  const pull = [...io, "pull", `${registry.host}/a/b:1`];
  assert.match((await hutch(pull)).stderr, /cannot unpack layer/);
  assert.equal((await hutch([...io, "logout", registry.host])).code, 0);
  assert.match((await hutch(pull)).stderr, /it asks for credentials/);
});

Deno.test("hutch login speaks plain HTTP where --insecure-registry says so", async () => {
  await using home = new Home();
  await using registry = basicRegistry();
  // A name for this machine that isn't one of the loopback names.
  const host = registry.host.replace("127.0.0.1", "0.0.0.0");
  const refused = await home.hutch(login(host), PASSWORD);
  assert.match(refused.stderr, /it doesn't speak TLS; .*without: --insecure-registry 0\.0\.0\.0:/);
  const { code, stderr } = await home.hutch(
    ["--insecure-registry", host, ...login(host)],
    PASSWORD,
  );
  assert.equal(code, 0, stderr);
});

const openssl = needs("openssl");

Deno.test(
  `hutch login trusts the authority that the configuration names${openssl.note}`,
  openssl,
  async () => {
    await using home = new Home();
    await using authority = await TestAuthority.create();
    const { cert, key } = authority.server;
    await using registry = new FakeRegistry({
      cert: await Deno.readTextFile(cert),
      key: await Deno.readTextFile(key),
    });
    registry.misbehave = () => Response.json({});
    const { host } = registry;
    await using folder = new TempFolder();
    const config = join(folder.path, "hutch.config.ts");
    await Deno.copyFile(authority.ca, join(folder.path, "authority.pem"));
    await Deno.writeTextFile(
      config,
      `export default { registries: { "${host}": { ca: ["authority.pem"] } } };`,
    );
    const { code, stderr } = await home.hutch(["--config", config, ...login(host)], PASSWORD);
    assert.equal(code, 0, stderr);
    // What is said on the command line goes before: there the registry doesn't speak TLS.
    const insecure = ["--config", config, "--insecure-registry", host, ...login(host)];
    assert.match((await home.hutch(insecure, PASSWORD)).stderr, /Cannot reach|it answers 400/);
  },
);

Deno.test("hutch leaves a password in the file of logins alone", async () => {
  await using home = new Home();
  await using registry = basicRegistry();
  const { host } = registry;
  const said: string[] = [];
  const run = async (args: readonly string[], input?: string) => {
    const { stdout, stderr } = await home.hutch(["--debug", ...args], input);
    said.push(stdout, stderr);
  };
  await run(login(host), PASSWORD);
  await run(["pull", `${host}/a/b:1`]);
  const letIn = registry.misbehave;
  registry.misbehave = (request) => {
    const told = request.headers.get("authorization");
    const message = `no ${told}`;
    return told === null
      ? letIn(request, new URL(request.url))
      : Response.json({ errors: [{ message }] }, { status: 403 });
  };
  await run(["pull", `${host}/a/b:1`]);
  await run(["create", `${host}/a/b:1`]);
  await run(["events", "--since", "1h", "--until", "0s", "--json"]);
  await run(["images", "--json"]);
  assert.match(said.join(""), /answers 403: no Basic …/);
  const secrets = [PASSWORD, btoa(`me:${PASSWORD}`)];
  for (const secret of secrets) assert.ok(!said.join("").includes(secret), said.join(""));
  for await (const { name, isFile } of Deno.readDir(home.path)) {
    if (!isFile || name === "credentials.json") continue;
    const text = new TextDecoder("latin1").decode(await Deno.readFile(join(home.path, name)));
    for (const secret of secrets) assert.ok(!text.includes(secret), name);
  }
});

const real = needs("docker-registry");

Deno.test(`hutch login works with docker-registry${real.note}`, real, async () => {
  await using home = new Home();
  await using registry = await startRegistry({ htpasswd: HTPASSWD });
  const wrong = await home.hutch(login(registry.host), "wr0ng");
  assert.match(wrong.stderr, /it doesn't take the credentials; check user name and password\n$/);
  assert.equal((await home.hutch(login(registry.host), PASSWORD)).code, 0);
  const none = await home.hutch(["pull", `${registry.host}/none:1`]);
  assert.match(none.stderr, /Cannot find .*\/none:1/);
});

const MAIN = new URL("../../src/cli/main.ts", import.meta.url).pathname;

/** Runs hutch at a terminal and types an answer to each prompt. */
async function atTerminal(
  home: Home,
  args: readonly string[],
  answers: readonly (readonly [string, string])[],
): Promise<{ code: number; shown: string }> {
  const words = [Deno.execPath(), "run", "-A", "--no-check", MAIN, "--home", home.path, ...args];
  const child = new Deno.Command("script", {
    args: ["-qefc", words.map((word) => `'${word}'`).join(" "), "/dev/null"],
    env: { SHELL: "/bin/sh", HUTCH_DEBUG: "" },
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  let shown = "";
  const left = [...answers];
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    shown += text;
    const [next] = left;
    if (!next || !shown.endsWith(next[0])) continue;
    left.shift();
    await writer.write(new TextEncoder().encode(next[1]));
  }
  await writer.close().catch(() => {});
  return { code: (await child.status).code, shown };
}

const terminal = needs("script");

Deno.test(
  `hutch login asks at a terminal, and doesn't show the password${terminal.note}`,
  terminal,
  async () => {
    await using home = new Home();
    await using registry = basicRegistry();
    const { host } = registry;
    const { code, shown } = await atTerminal(home, ["--no-config", "login", host], [
      [`User name at ${host}: `, "you\x7f\x7f\x7fme\r"],
      ["Password: ", `${PASSWORD}\r`],
    ]);
    assert.equal(code, 0, shown);
    assert.ok(!shown.includes(PASSWORD), shown);
    assert.match(shown, /Password: \r?\nLogged in to /);
    assert.match(await home.logins(), /"username": "me"/);
  },
);

Deno.test(`hutch login ends by Ctrl-C at its prompt${terminal.note}`, terminal, async () => {
  await using home = new Home();
  const args = ["--no-config", "login", "-u", "me", "h.test"];
  const { code, shown } = await atTerminal(home, args, [["Password: ", `${PASSWORD}\x03`]]);
  assert.equal(code, 130, shown);
  assert.ok(!shown.includes(PASSWORD), shown);
  assert.equal(await home.logins(), "");
});
