/**
 * What bad input gets: one line that names the value, the right exit code, and no trace.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { TempFolder } from "../support/temp.ts";
import { runTool } from "../support/tools.ts";
import { type CliResult, hutch, RUN, TEST_ENGINE, until, withHome } from "./support.ts";

/** All about the host's side: the same whatever runs the guest. */
if (TEST_ENGINE === "qemu") {
  badValues();
  badImages();
  badPlaces();
  missingParts();
  badBoxes();
}

/** Made by whatever opens a home. */
const EMPTY_HOME = ["boxes", "state.db", "system"];
const IMAGE = "builtin:busybox";

function badValues(): void {
  Deno.test("hutch create refuses bad values, names them and leaves nothing", async () => {
    await using home = new TempFolder();
    const cpus = navigator.hardwareConcurrency;
    const cases: readonly (readonly [args: readonly string[], said: RegExp])[] = [
      ...["", ".", ".a", "-x", "a/b", "a b", "é", "a\nb", "n".repeat(64)].map((name) =>
        [["--name", name], named("a name has 1 to 63 of", JSON.stringify(name))] as const
      ),
      ...["0", `${cpus + 1}`].map((count) =>
        [["--cpus", count], named(`this machine has ${cpus}`, `${count} CPUs`)] as const
      ),
      ...["", "-1", "1.5", "x", "1e1", "99999999999"].map((count) =>
        [["--cpus", count], named("is not a whole number", `--cpus: "${count}"`)] as const
      ),
      ...["63m", "62.5m", "1m", "999999g"].map((size) =>
        [
          ["--memory", size],
          /Cannot give a box \d+ MiB of memory: it needs at least 64 MiB/,
        ] as const
      ),
      ...["", "-1m", "x", "12q", "1m2"].map((size) =>
        [["--memory", size], named("is not a size", `--memory: "${size}"`)] as const
      ),
      ...["0", "0m", "64", "9999999999999999g"].map((size) =>
        [["--memory", size], named("", `--memory: "${size}"`)] as const
      ),
      [["--disk", "65t"], /Cannot give a box a disk of \d+ MiB/],
      [["--engine", "bochs"], /engine "bochs": there is no such engine; take one of .*qemu/],
      [["--workdir", "here"], /"here": a working folder in a box begins with "\/"/],
      [["--env", "=x"], /Cannot .*"=x"|variable ""/],
      [["--label", "=x"], /"=x" has no key/],
      [["--boot-timeout", "soon"], /--boot-timeout: "soon" is not a time/],
      [["--no-such-option"], /--no-such-option/],
    ];
    await refuseAll(home.path, cases.map(([args, said]) => [["create", ...args, IMAGE], said]));
    assertUntouched(home.path);
  });

  Deno.test("hutch refuses references that can't be, and names them", async () => {
    await using home = new TempFolder();
    await refuseAll(home.path, [
      [["run", "--rm", "a:b:c"], /"a:b:c"/],
      [["run", "--rm", "Upper"], /"Upper" has upper-case letters/],
      [["run", "--rm", ""], /""/],
      [["pull", "debian@sha256:12"], /"debian@sha256:12"/],
      [["pull", "builtin:nope"], /builtin:nope: there is no such builtin image; .*busybox/],
      [["pull", "oci:/no/such/folder"], /image folder \/no\/such\/folder/],
    ]);
    assertUntouched(home.path);
  });
}

function badImages(): void {
  Deno.test("hutch run of an unknown image names it and leaves nothing", async () => {
    await using home = new TempFolder();
    await using registry = new FakeRegistry();
    const image = `${registry.host}/no/such:tag`;
    await refuse(home.path, ["run", "--rm", ...RUN, image], named("Cannot", image));
    assertUntouched(home.path);
  });

  Deno.test("hutch run of a registry that can't be reached names it and leaves nothing", async () => {
    await using home = new TempFolder();
    const host = closedPort();
    await refuse(
      home.path,
      ["run", "--rm", ...RUN, `${host}/some/image`],
      named("check its name and the network", `Cannot reach ${host}`),
    );
    assertUntouched(home.path);
  });

  Deno.test("hutch pull of a blob with another digest caches nothing", async () => {
    await using home = new TempFolder();
    await using registry = new FakeRegistry();
    const image = memoryImage([someBytes(5_000), someBytes(70_000, 2)]);
    registry.addImage("some/image:latest", image);
    const [, layer = ""] = image.layers;
    registry.misbehave = (_, url) =>
      url.pathname.endsWith(layer) ? new Response(someBytes(70_000, 3)) : undefined;
    const result = await refuse(
      home.path,
      ["pull", `${registry.host}/some/image`],
      named("its bytes have sha256:", layer),
      { progress: true },
    );
    assert.equal(result.stdout, "");
    assertUntouched(home.path);
  });

  Deno.test("hutch pull of a manifest with another digest than asked for caches nothing", async () => {
    await using home = new TempFolder();
    await using registry = new FakeRegistry();
    const image = memoryImage([someBytes(100)]);
    const other = memoryImage([someBytes(200)]);
    registry.addImage("some/image:latest", image);
    registry.misbehave = (_, url) =>
      url.pathname.includes("/manifests/")
        ? new Response(other.manifest, {
          headers: { "content-type": "application/vnd.oci.image.manifest.v1+json" },
        })
        : undefined;
    await refuse(
      home.path,
      ["pull", `${registry.host}/some/image@${image.digest}`],
      named("digest", image.digest),
    );
    assertUntouched(home.path);
  });

  Deno.test("hutch run of a truncated layer names it, and nothing of it is left", async () => {
    await using home = new TempFolder();
    await using registry = new FakeRegistry();
    // Its digest is right: it was pushed so. The end of the archive is missing.
    const tar = (await new Deno.Command("tar", {
      args: ["-c", "-C", "/etc", "passwd", "group", "hostname"],
    }).output()).stdout.slice(0, 900);
    const image = memoryImage([tar]);
    registry.addImage("cut:latest", image);
    await refuse(
      home.path,
      ["run", "--rm", ...RUN, `${registry.host}/cut`, "true"],
      named("", image.layers[0] ?? "?"),
    );
    await assertNoBox(home.path);
    assert.deepEqual(names(join(home.path, "disks")), []);
  });

  Deno.test("hutch pull of a layer that always breaks off says so", async () => {
    await using home = new TempFolder();
    await using registry = new FakeRegistry();
    const image = memoryImage([someBytes(70_000)]);
    registry.addImage("short:latest", image);
    const [layer = ""] = image.layers;
    registry.misbehave = (_, url) =>
      url.pathname.endsWith(layer) ? new Response(someBytes(60_000)) : undefined;
    await refuse(
      home.path,
      ["pull", `${registry.host}/short`],
      named("", layer),
      { progress: true },
    );
    assert.deepEqual(JSON.parse((await hutch(home.path, ["images", "--json"])).stdout), []);
    assert.deepEqual(names(join(home.path, "blobs/sha256")), [], "no blob counts that isn't whole");
  });
}

function badPlaces(): void {
  Deno.test("hutch run with no space for the image names the place and leaves nothing", async () => {
    await using registry = new FakeRegistry();
    registry.addImage("big:latest", memoryImage([someBytes(2 << 20)]));
    await using home = await Tmpfs.mount("size=1m,mode=700");
    await refuse(
      home.path,
      ["run", "--rm", ...RUN, `${registry.host}/big`, "true"],
      named("no space is left", home.path),
    );
    assertUntouched(home.path);
  });

  Deno.test("hutch run with no space for the base disk names the place and leaves no box", async () => {
    await using home = await Tmpfs.mount("size=3m,mode=700");
    const result = await refuse(
      home.path,
      ["run", "--rm", ...RUN, IMAGE, "true"],
      named("free some room", join(home.path, "disks")),
    );
    assert.match(result.stderr, /no space/i);
    await assertNoBox(home.path);
    assert.deepEqual([...names(join(home.path, "disks")), ...names(join(home.path, "system"))], []);
    // What was pulled is whole and stays; with room the same command goes on from there.
    await runTool("mount", "-o", "remount,size=128m", home.path);
    const again = await hutch(home.path, ["run", "--rm", ...RUN, IMAGE, "echo", "room"]);
    assert.deepEqual([again.code, again.stdout], [0, "room\n"], again.stderr);
  });

  Deno.test("hutch refuses a home that isn't a folder, and one that can't be written", async () => {
    await using folder = new TempFolder();
    const file = join(folder.path, "file");
    await Deno.writeTextFile(file, "mine\n");
    await refuse(file, ["ls"], named("HUTCH_HOME", `Cannot use home ${file}: `));
    await refuse(join(file, "below"), ["ls"], named("HUTCH_HOME", `Cannot use home ${file}/below`));
    assert.equal(await Deno.readTextFile(file), "mine\n");
    await Deno.symlink("/dev", join(folder.path, "dev"));
    const hidden = join(folder.path, "dev/hutch-home");
    await refuse(hidden, ["ls"], named("below /dev; choose another one", `home ${hidden}`));
    assert.deepEqual(names("/dev/hutch-home"), []);
    await using home = await Tmpfs.mount("size=8m,mode=700");
    await runTool("mount", "-o", "remount,ro", home.path);
    await refuse(home.path, ["run", "--rm", IMAGE], named("Read-only", `home ${home.path}`));
    await runTool("mount", "-o", "remount,rw", home.path);
    assert.deepEqual(names(home.path), []);
    assert.equal((await hutch(home.path, ["create", "--name", "one", IMAGE])).code, 0);
    await runTool("mount", "-o", "remount,ro", home.path);
    await refuse(home.path, ["rm", "one"], named("Read-only", `home ${home.path}`));
  });

  Deno.test("hutch refuses state from a newer version and a damaged one, and leaves both alone", async () => {
    await using home = new TempFolder();
    const path = join(home.path, "state.db");
    assert.equal((await hutch(home.path, ["ls"])).code, 0);
    {
      using database = new DatabaseSync(path);
      database.exec("PRAGMA user_version = 999");
    }
    await refuse(home.path, ["ls"], named("it has version 999", path));
    {
      using database = new DatabaseSync(path);
      assert.equal(database.prepare("PRAGMA user_version").get()?.user_version, 999);
    }
    const damaged = `no database ${"x".repeat(10_000)}`;
    for (const name of names(home.path).filter((name) => name.startsWith("state.db-"))) {
      await Deno.remove(join(home.path, name));
    }
    await Deno.writeTextFile(path, damaged);
    await refuse(home.path, ["run", "--rm", IMAGE], named("it is damaged", path));
    assert.equal(await Deno.readTextFile(path), damaged);
  });
}

function missingParts(): void {
  const start = ["run", "--rm", "--memory", "128m"];
  Deno.test("hutch run names the engine that is missing and its remedy", () =>
    withHome(async (home) => {
      await refuse(
        home,
        [...start, "--engine", "libkrun", IMAGE, "true"],
        /engine "libkrun": libkrun: HUTCH_LIBKRUN names \/nope, which is no file.*setup.*hutch doctor/,
        { env: { HUTCH_LIBKRUN: "/nope" } },
      );
      await refuse(
        home,
        [...start, IMAGE, "true"],
        /any engine: .*HUTCH_LIBKRUN names \/nope.*HUTCH_QEMU names \/nope.*KVM.*install/,
        { env: { HUTCH_LIBKRUN: "/nope", HUTCH_QEMU: "/nope" } },
      );
      await assertNoBox(home);
    }));

  Deno.test("hutch run names the native part that is missing and its remedy", async () => {
    await using home = new TempFolder();
    const command = [...start, "--engine", "qemu", IMAGE, "true"];
    await refuse(home.path, command, /the helper \/nope: .*deno task build/, {
      env: { HUTCH_HELPER: "/nope" },
    });
    await refuse(home.path, command, /the agent \/nope: .*deno task build/, {
      env: { HUTCH_AGENT: "/nope" },
    });
    await refuse(home.path, command, /libkrunfw: HUTCH_LIBKRUNFW names \/nope.*setup/, {
      env: { HUTCH_LIBKRUNFW: "/nope" },
    });
    await assertNoBox(home.path);
  });

  Deno.test("hutch --debug prints the chain of causes", async () => {
    await using home = new TempFolder();
    const { code, stderr } = await hutch(
      home.path,
      ["--debug", ...start, "--engine", "qemu", IMAGE, "true"],
      { env: { HUTCH_AGENT: "/nope" } },
    );
    assert.equal(code, 125);
    assert.match(stderr, /^hutch: Cannot start box "box-[0-9a-f]{12}" \(stage system\): /);
    assert.match(stderr, /^ {2}error \(part_missing\): StartError: /m);
    assert.match(stderr, /^ {2}caused by \(part_missing\): HutchError: /m);
    assert.match(stderr, /^ {2}caused by: NotFound: /m);
  });
}

function badBoxes(): void {
  Deno.test("hutch names boxes that aren't there, that are meant, and that can't be told apart", () =>
    withHome(async (home) => {
      await refuse(home, ["exec", "web", "true"], /Cannot find box "web": there is none; see/);
      const ids: string[] = [];
      for (const name of ["web", "db"]) {
        const { stdout, stderr } = await hutch(home, ["create", "--name", name, IMAGE]);
        assert.match(stdout, /^[0-9a-f]{12}\n$/, stderr);
        ids.push(stdout.trim());
      }
      await refuse(home, ["exec", "wob", "true"], /Cannot find box "wob".*did you mean "web"\?$/m);
      await refuse(home, ["rm", "wob"], /Cannot find box "wob".*did you mean "web"\?$/m);
      await refuse(home, ["create", "--name", "web", IMAGE], /box "web": the name is taken; .*web/);
      // Ids are random: give both the same beginning.
      {
        using database = new DatabaseSync(join(home, "state.db"));
        database.exec("PRAGMA foreign_keys = OFF");
        for (const [index, id] of ids.entries()) {
          const alike = `abcdef00000${index}`;
          database.prepare(
            "UPDATE boxes SET id = ?, config = json_set(config, '$.id', ?) WHERE id = ?",
          ).run(alike, alike, id);
          database.prepare("UPDATE box_states SET box_id = ? WHERE box_id = ?").run(alike, id);
          await Deno.rename(join(home, "boxes", id), join(home, "boxes", alike));
        }
      }
      await refuse(
        home,
        ["exec", "abcdef", "true"],
        /"abcdef" fits abcdef000000 \(web\), abcdef000001 \(db\); give more of the id/,
      );
      const removed = await hutch(home, ["rm", "abcdef000000", "db"]);
      assert.equal(removed.code, 0, removed.stderr);
      await assertNoBox(home);
    }));

  Deno.test("hutch run gives 127 and 126 for commands that can't run, and leaves nothing", () =>
    withHome(async (home) => {
      const run = ["run", "--rm", ...RUN, IMAGE];
      await refuse(home, [...run, "no-such-command"], /no-such-command/, { code: 127 });
      await refuse(home, [...run, "/etc/passwd"], /\/etc\/passwd/, { code: 126 });
      await assertNoBox(home);
    }));
}

/** Runs a command that must fail with one line. */
async function refuse(
  home: string,
  args: readonly string[],
  said: RegExp,
  options: {
    readonly code?: number;
    readonly env?: Record<string, string>;
    /** Whether lines about a pull may go before the error's. */
    readonly progress?: boolean;
  } = {},
): Promise<CliResult> {
  const result = await hutch(home, args, options.env ? { env: options.env } : {});
  const lines = result.stderr.split("\n");
  const what = `${args.join(" ")}: ${result.code}\n${result.stderr}`;
  assert.equal(lines.pop(), "", what);
  const line = lines.pop() ?? "";
  assert.match(line, /^hutch: Cannot /, what);
  assert.match(line, said, what);
  assert.doesNotMatch(result.stderr, /bug in hutch/);
  if (!options.progress) assert.deepEqual(lines, [], what);
  assert.ok(!lines.some((other) => other.startsWith("hutch: ")), what);
  assert.equal(result.code, options.code ?? 125, what);
  assert.equal(result.stdout, "", what);
  return result;
}

/** {@link refuse} for many, a few at a time. */
async function refuseAll(
  home: string,
  cases: readonly (readonly [args: readonly string[], said: RegExp])[],
): Promise<void> {
  const queue = [...cases];
  const work = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) await refuse(home, ...next);
  };
  const failures = (await Promise.allSettled([work(), work(), work()]))
    .filter((result) => result.status === "rejected").map(({ reason }) => reason);
  if (failures.length > 0) throw failures[0];
}

/** Matches a line that has both texts. */
function named(text: string, value: string): RegExp {
  return new RegExp(`(?=.*${RegExp.escape(text)})(?=.*${RegExp.escape(value)})`);
}

/** Nothing but what any command makes: no blob, no partial, no disk, no folder of a box. */
function assertUntouched(home: string): void {
  const folders = names(home).filter((name) => !name.startsWith("state.db-"));
  const made = folders.filter((name) => !["blobs", "disks"].includes(name));
  assert.ok(made.every((name) => EMPTY_HOME.includes(name)), `${folders}`);
  for (const folder of ["blobs/sha256", "blobs/partial", "disks", "boxes", "system"]) {
    assert.deepEqual(names(join(home, folder)), [], folder);
  }
  if (!folders.includes("state.db")) return;
  using database = new DatabaseSync(join(home, "state.db"));
  for (const table of ["boxes", "images", "image_references"]) {
    assert.equal(database.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.n, 0, table);
  }
}

async function assertNoBox(home: string): Promise<void> {
  assert.deepEqual(names(join(home, "boxes")), []);
  assert.deepEqual(JSON.parse((await hutch(home, ["ls", "-a", "--json"])).stdout), []);
}

function names(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** A loopback port that nobody listens on. */
function closedPort(): string {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return `127.0.0.1:${listener.addr.port}`;
}

/** A small file system of its own, until disposed. */
class Tmpfs implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async mount(options: string): Promise<Tmpfs> {
    const path = await Deno.makeTempDir({ prefix: "hutch-tmpfs-" });
    try {
      await runTool("mount", "-t", "tmpfs", "-o", options, "hutch-test", path);
    } catch (error) {
      await Deno.remove(path);
      throw error;
    }
    return new Tmpfs(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A machine that was killed may be a moment from being gone.
    let said = "";
    await until(async () => {
      const umount = await new Deno.Command("umount", { args: [this.path] }).output();
      said = new TextDecoder().decode(umount.stderr);
      return umount.success;
    }, () => Promise.resolve(said));
    await Deno.remove(this.path);
  }
}
