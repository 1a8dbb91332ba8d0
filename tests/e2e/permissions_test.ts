import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { confinementSupport } from "../../ffi/helper.ts";
import { boxLibraryPath } from "../../ffi/library.ts";
import { cacheFolder } from "../../src/cache_folder.ts";
import { boxProcessModule } from "../../src/vmm/built_module.ts";
import { pathsOf } from "../../src/runtime/paths.ts";
import { FakeRegistry, memoryImage } from "../support/fake_registry.ts";
import { permissionFlags } from "../support/readme.ts";
import { TempFolder } from "../support/temp.ts";
import { writeTar } from "../support/tar.ts";
import { ROOT, RUN, TEST_ENGINE, withHome } from "./support.ts";

/** Nothing here depends on the engine but a library, and the lab is slow. */
const ignore = TEST_ENGINE !== "qemu";
const MAIN = join(ROOT, "src/cli/main.ts");
const SCRIPT = `import { Runtime } from ${JSON.stringify(join(ROOT, "mod.ts"))};
await using runtime = await Runtime.open();
await using box = await runtime.create({ image: "builtin:busybox", memory: "128m", VOLUMES });
console.log((await box.exec("echo", ["few permissions"])).stdout);
`;
const MORE = `import { Runtime } from ${JSON.stringify(join(ROOT, "mod.ts"))};
await using runtime = await Runtime.open();
const { reference } = await runtime.images.pull("IMAGE");
console.log((await runtime.images.inspect(reference)).references.length, "reference");
const secrets = { TOKEN: { from: "env", hosts: ["api.test"] } };
await using box = await runtime.create({ image: reference, memory: "128m", secrets });
await box.start();
await box.kill();
console.log("killed");
`;
const PLUGIN = `export default { name: "polite", stages: {
  boot: { before: () => console.error("boots") } } };
`;

/** The README's flags for a home. */
async function flagsFor(home: string): Promise<string[]> {
  return await permissionFlags({
    ...{ home, sockets: pathsOf(home).sockets, cache: cacheFolder(), checkout: ROOT },
  });
}

/** One more value for a flag: `["run", "cc"]`, or the whole permission with an empty one. */
function withMore(flags: readonly string[], name: string, value: string): string[] {
  const prefix = `--allow-${name}`;
  return flags.map((flag) =>
    !flag.startsWith(`${prefix}=`) ? flag : value === "" ? prefix : `${flag},${value}`
  );
}

/** The flags with one value of one of them left out, each in turn. */
function* withoutOne(
  flags: readonly string[],
): Generator<{ flags: string[]; flag: string; value: string }> {
  for (const [index, text] of flags.entries()) {
    const [flag = "", list] = text.split("=");
    if (flag === "--no-prompt") continue;
    const values = list?.split(",") ?? [""];
    for (const value of values) {
      const rest = values.filter((each) => each !== value);
      const kept = rest.length === 0 ? [] : [`${flag}=${rest.join(",")}`];
      yield { flags: flags.toSpliced(index, 1, ...kept), flag, value };
    }
  }
}

async function run(
  home: string,
  flags: readonly string[],
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", ...flags, ...args],
    env: { HUTCH_HOME: home, NO_COLOR: "1", PATH: withDeno(), ...env },
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** As where Deno was installed by itself: `deno` is the program. */
function withDeno(): string {
  return `${dirname(Deno.execPath())}:${Deno.env.get("PATH") ?? ""}`;
}

async function script(home: string, volumes: string): Promise<string> {
  const path = join(home, "script.ts");
  await Deno.writeTextFile(path, SCRIPT.replace("VOLUMES", `volumes: ${volumes}`));
  return path;
}

Deno.test({
  name: "a script runs with the README's permissions, and says which flag is missing without one",
  ignore,
  fn: () =>
    withHome(async (home) => {
      const path = await script(home, "[]");
      const flags = await flagsFor(home);
      const whole = await run(home, flags, [path]);
      assert.deepEqual([whole.code, whole.stdout, whole.stderr], [0, "few permissions\n\n", ""]);

      for (const { flags: fewer, flag, value } of withoutOne(flags)) {
        const { code, stderr } = await run(home, fewer, [path]);
        if (code === 0 && isUnused(value)) continue;
        assert.equal(code, 1, `without ${flag}=${value}`);
        const [first = ""] = stderr.split("\n");
        assert.match(first, /(?:Hutch|Start)Error: Cannot /, `without ${flag}=${value}`);
        // All of a family of variables are named one by one.
        const named = value === "deno" ? Deno.execPath() : value.replace(/\*$/, "");
        const told = first.replaceAll("--allow-", "\n--allow-").split("\n")
          .find((part) => part.startsWith(flag) && part.includes(named));
        assert.ok(told !== undefined, `without ${flag}=${value}: ${first}`);
      }
    }),
});

/** Where the kernel is a part of the system, hutch's cache is read for nothing. */
function isUnused(value: string): boolean {
  return value === cacheFolder();
}

Deno.test({
  name: "volumes, the command line and plugins run with the permissions that the README adds",
  ignore,
  fn: () =>
    withHome(async (home) => {
      const flags = await flagsFor(home);
      const share = join(ROOT, "build/hutch-share");
      const folder = join(home, "shared");
      await Deno.mkdir(folder);
      const path = await script(home, `["${folder}:/shared"]`);
      const denied = await run(home, withMore(flags, "read", folder), [path]);
      assert.match(denied.stderr, new RegExp(`isn't given --allow-run=${share}`));
      const shared = await run(home, withMore(flags, "run", share), [path]);
      assert.deepEqual([shared.code, shared.stderr], [0, ""]);

      const plugin = join(home, "polite.ts");
      await Deno.writeTextFile(plugin, PLUGIN);
      const command = [
        ...[MAIN, "--no-config", "--plugin", plugin, "run", "--rm", ...RUN],
        ...["builtin:busybox", "echo", "hi"],
      ];
      const cli = await run(home, withMore(flags, "run", ""), command);
      assert.deepEqual([cli.code, cli.stdout, cli.stderr], [0, "hi\n", "boots\n"]);

      const listed = await run(home, flags, [MAIN, "--no-config", "rm", "-f", "none"]);
      assert.match(listed.stderr, /hutch: Cannot find box/);
      const searched = await run(home, flags, [MAIN, "ls"]);
      assert.match(searched.stderr, /configuration: this program isn't given --allow-read=/);
      // The working folder and all above it.
      const found = await run(home, withMore(flags, "read", "/"), [MAIN, "ls"]);
      assert.deepEqual([found.code, found.stderr], [0, ""]);
    }),
});

Deno.test({
  name: "images of registries, secrets and killing take the permissions that the README adds",
  ignore,
  fn: () =>
    withHome(async (home) => {
      await using registry = new FakeRegistry();
      const file = writeTar({ path: "file", data: new TextEncoder().encode("pulled") });
      registry.addImage("one:tag", memoryImage([file]));
      const auth = btoa("user:word");
      registry.misbehave = ({ headers }) =>
        headers.get("authorization") === `Basic ${auth}` ? undefined : new Response(null, {
          status: 401,
          headers: { "www-authenticate": 'Basic realm="here"' },
        });
      await using docker = new TempFolder(); // home is read anyway
      const logins = JSON.stringify({ auths: { [registry.host]: { auth } } });
      await Deno.writeTextFile(`${docker.path}/config.json`, logins);
      const flags = withMore(
        await flagsFor(home),
        "read",
        `${docker.path},${ROOT}/src,${ROOT}/ffi`,
      );
      const path = join(home, "script.ts");
      await Deno.writeTextFile(path, MORE.replace("IMAGE", `${registry.host}/one:tag`));
      const env = { TOKEN: "value", DOCKER_CONFIG: docker.path };
      const secrets = withMore(flags, "env", "DENO_CERT,TOKEN")
        .map((flag) => flag.startsWith("--allow-run") ? "--allow-run" : flag);
      const enough = withMore(secrets, "env", "DOCKER_CONFIG");
      const without = (text: string) => enough.map((flag) => flag.replace(`,${text}`, ""));
      const fewer: [flags: string[], missing: string][] = [
        // In the order in which they are needed: what is pulled stays.
        [without("DOCKER_CONFIG"), "--allow-env=DOCKER_CONFIG"],
        [without(docker.path), `--allow-read=${docker.path}`],
        [without(`${ROOT}/src`), `--allow-read=${join(ROOT, "src")}`],
        [without("DENO_CERT"), "--allow-env=DENO_CERT"],
        [without("TOKEN"), "--allow-env=TOKEN"],
        [enough.map((flag) => flag === "--allow-run" ? "--allow-run=deno" : flag), "--allow-run"],
      ];
      for (const [flags, missing] of fewer) {
        const { code, stderr } = await run(home, flags, [path], env);
        assert.equal(code, 1, `without ${missing}`);
        assert.ok(stderr.split("\n", 1)[0]?.includes(missing), `without ${missing}: ${stderr}`);
      }
      const { code, stdout, stderr } = await run(home, enough, [path], env);
      assert.deepEqual([code, stdout, stderr], [0, "1 reference\nkilled\n", ""]);
    }),
});

Deno.test({
  name: "a box process has no permission but for its box, and no environment but what is listed",
  ignore,
  fn: () =>
    withHome(async (home) => {
      const { Runtime } = await import("../../mod.ts");
      await using runtime = await Runtime.open({ home });
      await using box = await runtime.create({
        ...{ image: "builtin:busybox", memory: 128, engine: "qemu", network: "none" },
      });
      await box.exec("true");
      const { pid } = await box.info();
      const read = async (file: string) =>
        (await Deno.readTextFile(`/proc/${pid}/${file}`)).split("\0").filter((text) => text !== "");
      const words = await read("cmdline");
      const runner = import.meta.resolve("../../plugins/engines/qemu_runner.ts");
      const { url, hasRunner } = boxProcessModule(runner);
      assert.ok(words.includes(url), words.join(" "));
      const flags = words.filter((word) => word.startsWith("--allow-"));
      const { sockets } = pathsOf(home);
      const folder = join(home, "boxes", box.id);
      const engines = hasRunner ? "" : fileURLToPath(new URL(".", runner)).replace(/\/$/, "");
      for (const flag of flags) {
        const [name = "", list = ""] = flag.split("=");
        assert.notEqual(list, "", `${flag} has no list`);
        for (const value of list.split(",")) {
          const path = value.replace(/^unix:/, "");
          const own = path === folder || path.startsWith(`${sockets}/${box.id}.`);
          const engine = name === "--allow-read" && path === engines;
          const guard = name === "--allow-ffi" && path === boxLibraryPath();
          assert.ok(own || engine || guard, `${flag} has ${value}`);
        }
      }
      if (confinementSupport().seccomp) {
        for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
          const status = Deno.readTextFileSync(`/proc/${pid}/task/${name}/status`);
          assert.match(status, /^NoNewPrivs:\t1$[^]*^Seccomp:\t2$/m, `thread ${name}`);
        }
      }
      const names = (await read("environ")).map((line) => line.split("=")[0]);
      const known = ["DENO_DIR", "HOME", "HUTCH_BESIDE", "MALLOC_ARENA_MAX", "XDG_CACHE_HOME"];
      assert.deepEqual(names.filter((name) => !known.includes(name ?? "")), []);
    }),
});
