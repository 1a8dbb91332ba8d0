/**
 * Removing, saving and loading images under boxes that run.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { TempFolder } from "../support/temp.ts";
import { hutch, RUN, spawnHutch, TEST_ENGINE, until, withHome } from "./support.ts";

const IMAGE = "builtin:busybox";

async function ok(home: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await hutch(home, args);
  assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
  return stdout;
}

Deno.test(`hutch rmi takes nothing from a box that runs, and all when it is gone, on ${TEST_ENGINE}`, () =>
  withHome(async (home) => {
    await ok(home, "run", "-d", "--name", "web", ...RUN, IMAGE);
    const refused = await hutch(home, ["rmi", IMAGE]);
    assert.deepEqual([refused.code, refused.stdout], [125, ""]);
    assert.match(refused.stderr, /^hutch: Cannot remove image builtin:busybox: box "web" uses it;/);

    assert.match(await ok(home, "rmi", "-f", IMAGE), /^Untagged: builtin:busybox\nKept: sha256:/);
    assert.match(await ok(home, "image", "prune", "-a"), /^Came back: 0 B\n$/);
    assert.equal(await ok(home, "exec", "web", "cat", "/etc/hostname"), "web\n");
    await ok(home, "restart", "-t", "0", "web");
    assert.equal(await ok(home, "exec", "web", "echo", "still here"), "still here\n");
    await ok(home, "rm", "-f", "web");
    assert.match(
      await ok(home, "image", "prune"),
      /^Removed: sha256:.*\nCame back: .*, 1 base disk\)\n$/,
    );
    for (const folder of ["disks", "blobs/sha256", "blobs/references"]) {
      assert.deepEqual([...Deno.readDirSync(join(home, folder))], [], folder);
    }

    await ok(home, "create", "--name", "web", ...RUN, IMAGE);
    await ok(home, "rm", "web");
    assert.match(await ok(home, "rmi", IMAGE), /^Untagged: builtin:busybox\nRemoved: sha256:/);
    assert.deepEqual(JSON.parse(await ok(home, "images", "-a", "--json")), []);
  }));

Deno.test(`hutch image save and load bring an image to a home that runs it, on ${TEST_ENGINE}`, () =>
  withHome((from) =>
    withHome(async (to) => {
      await using folder = new TempFolder();
      await ok(to, "image", "prune", "-a");
      await ok(from, "image", "tag", IMAGE, "team/base:1");
      for (const format of ["oci", "docker-archive"]) {
        const path = join(folder.path, `${format}.tar`);
        await ok(from, "image", "save", "-o", path, "--format", format, "team/base:1");
        assert.equal(await ok(to, "image", "load", "-i", path), "Loaded: team/base:1\n");
        const run = ["run", "--rm", "--pull", "never", ...RUN, "team/base:1", "echo", format];
        assert.equal(await ok(to, ...run), `${format}\n`);
        await ok(to, "rmi", "team/base:1");
        await ok(to, "image", "prune");
      }
      assert.deepEqual([...Deno.readDirSync(join(to, "disks"))], []);
    })
  ));

/** All about the host's side: the same whatever runs the guest. */
if (TEST_ENGINE === "qemu") {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.test(`hutch image save that ${signal} ends lets go of its images, though nobody reads`, () =>
      withHome(async (home) => {
        await using folder = new TempFolder();
        const pipe = join(folder.path, "pipe");
        // Nobody reads from it: a save hangs in the middle.
        assert.ok((await new Deno.Command("mkfifo", { args: [pipe] }).output()).success);
        using reader = await Deno.open(pipe, { read: true, write: true });
        const child = spawnHutch(home, ["image", "save", "-o", pipe, IMAGE]);
        const output = child.output();
        const first = new Uint8Array(512);
        await reader.read(first); // it is at work
        child.kill(signal);
        assert.equal((await output).code, signal === "SIGINT" ? 130 : 143);
        assert.deepEqual([...Deno.readDirSync(join(home, "blobs/uses"))], []);
      }));

    Deno.test(`hutch image load that ${signal} ends leaves nothing`, () =>
      withHome(async (home) => {
        const before = await ok(home, "images", "--json");
        const child = spawnHutch(home, ["image", "load"], { stdin: "piped" });
        const output = child.output();
        const writer = child.stdin.getWriter();
        await writer.write(new Uint8Array(10_000));
        const partial = join(home, "blobs/partial");
        const spooled = () =>
          [...Deno.readDirSync(partial)].filter(({ name }) => /^load-/.test(name));
        await until(
          () => Promise.resolve(spooled().length === 2),
          () => Promise.resolve("nothing is spooled"),
        );
        child.kill(signal);
        assert.equal((await output).code, signal === "SIGINT" ? 130 : 143);
        await writer.close().catch(() => {});
        assert.deepEqual(spooled(), []);
        assert.equal(await ok(home, "images", "--json"), before);
      }));
  }
}
