/** Copies into a box and out of it, on one box that all these tests share. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { HostCopy } from "../../ffi/helper.ts";
import { type Box, definePlugin, type FileCopy, HutchError } from "../../mod.ts";
import { SmallHome } from "../support/small_home.ts";
import { latin1, type TarFields, writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { pictureOf } from "../support/tree_picture.ts";
import { BOX, hutch, TEST_ENGINE, until, withRuntime } from "./support.ts";

/** Copies in one direction after the other; more shows what grows, and takes its time. */
const ROUNDS = Number(Deno.env.get("COPY_RUNS") ?? 15);

const MEBIBYTE = 2 ** 20;

const told: string[] = [];
const tell = (type: string) => ({ source, destination, entries, bytes }: FileCopy) =>
  void told.push(`${type} ${source} ${destination} ${entries} ${bytes}`);
const watcher = definePlugin({
  name: "watcher",
  operations: {
    copyIn: {
      before: (input) => ({ ...input, destination: input.destination.replace("@", "/root/") }),
    },
    copyOut: {
      before: ({ source }) => {
        if (source === "/refused") throw new Error("not this one");
      },
    },
  },
  on: { "file.copiedIn": tell("in"), "file.copiedOut": tell("out") },
});

Deno.test(`Box.copyIn and copyOut on ${TEST_ENGINE}`, (test) =>
  withRuntime(async (runtime, home) => {
    await using host = new TempFolder();
    await Deno.mkdir(join(host.path, "volume"));
    const volumes = [`${host.path}/volume:/srv/volume`];
    await using box = await runtime.create({ ...BOX, name: "box", volumes, disk: 64 });
    for (const [name, body] of cases) {
      await using folder = new TempFolder(host.path);
      await test.step(name, () => body(box, folder.path, home));
    }
  }, { plugins: [watcher] }));

async function said(box: Box, script: string): Promise<string> {
  const { code, stdout, stderr } = await box.exec("sh", ["-c", script]);
  assert.equal(code, 0, stderr);
  return stdout;
}

async function rejects(
  code: string,
  words: RegExp,
  run: () => PromiseLike<unknown>,
): Promise<void> {
  await assert.rejects(async () => await run(), (error) => {
    assert(error instanceof HutchError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, words);
    return true;
  });
}

/** Odd names, links, modes and times. */
const TREE: readonly TarFields[] = [
  { path: ".", type: "5", mode: 0o750, mtime: 1_000_000_000 },
  { path: "./empty", type: "5", mode: 0o555, mtime: 1 },
  { path: "./a b", type: "5", mode: 0o755, pax: { mtime: "1234567890.123456789" } },
  { path: "./a b/latin\xe9\xff", data: "not UTF-8", mode: 0o640, mtime: 2_000_000_000 },
  { path: "./a b/\x01\n\t*?", data: "odd", mode: 0o4711 & 0o777 },
  { path: "./a b/large", data: "0123456789a".repeat(230_000), mode: 0o644 },
  { path: "./hard", type: "1", link: "./a b/large" },
  { path: "./link", type: "2", link: "../../nowhere/\xe9", mtime: 77 },
  { path: "x", pax: { path: `./${"n".repeat(200)}/${"m".repeat(200)}` }, data: "deep" },
  { path: "./nothing", mode: 0o600 },
];

async function makeTree(path: string): Promise<void> {
  using copy = HostCopy.unpack(path, "", { flags: { modes: true, times: true } });
  await copy.push(writeTar(...TREE));
  await copy.finish();
}

const cases:
  readonly (readonly [string, (box: Box, host: string, home: string) => Promise<void>])[] = [
    ["Box.copyIn and copyOut give any tree back, on disk, tmpfs and volumes", async (box, host) => {
      const from = join(host, "from");
      await makeTree(from);
      const picture = await pictureOf(from);
      for (const [n, place] of ["/root/new/tree", "/dev/shm/tree", "/srv/volume/tree"].entries()) {
        told.length = 0;
        const to = join(host, `to${n}`, "deeper");
        const result = await box.copyIn(from, place);
        assert.deepEqual(result, { entries: 11, bytes: 2_530_016, skipped: 0 });
        assert.deepEqual(await box.copyOut(place, to), result);
        assert.equal(await pictureOf(to), picture, place);
        assert.deepEqual(told, [
          `in ${from} ${place} 11 2530016`,
          `out ${place} ${to} 11 2530016`,
        ]);
      }
      assert.equal(
        await said(box, "cd /root/new/tree; stat -c %h hard; stat -c %u .; ls -A /srv/volume"),
        "2\n0\ntree\n",
      );
    }],
    ["Box.copyIn puts files and folders where they belong", async (box, host) => {
      await Deno.mkdir(join(host, "d/sub"), { recursive: true });
      await Deno.writeTextFile(join(host, "d/f"), "new");
      const file = join(host, "d/f");
      await said(
        box,
        "mkdir -p /root/place/sub; echo old > /root/place/f; ln -s /etc /root/place/etc",
      );
      await rejects(
        "copy_failed",
        /^Cannot copy .*d to box:\/root\/place: \/?f: it is there already/,
        () => box.copyIn(join(host, "d"), "/root/place", { overwrite: false }),
      );
      await box.copyIn(join(host, "d"), "/root/place");
      await box.copyIn(join(host, "d"), "/root/place", { includeParent: true });
      await box.copyIn(file, "/root/place/d/");
      await box.copyIn(file, "@place/named");
      assert.equal(
        await said(box, "cd /root/place; find . | sort; cat f"),
        [
          ...[".", "./d", "./d/f", "./d/sub", "./etc", "./f", "./named", "./sub", "new"],
        ].join("\n"),
      );
      // Neither by way of a link, nor in a folder's place.
      await rejects("copy_failed", /something else is where a folder has to be/, async () => {
        await Deno.mkdir(join(host, "d/etc"));
        await Deno.writeTextFile(join(host, "d/etc/x"), "");
        await box.copyIn(join(host, "d"), "/root/place");
      });
      await rejects(
        "copy_failed",
        /sub: a folder is in its place/,
        () => box.copyIn(writeStream({ path: "sub", data: "1" }), "/root/place"),
      );
      await rejects(
        "copy_failed",
        /no folder/,
        () => box.copyIn(join(host, "d"), "/root/place/named"),
      );
      await rejects("invalid_option", /destination is empty/, () => box.copyIn(file, ""));
      // What something is mounted on is written, not replaced.
      await box.copyIn(file, "/etc/hostname");
      assert.equal(await said(box, "cat /etc/hostname"), "new");
    }],
    [
      "Box.copyIn and copyOut keep owners as they are told, and pass by what the filter drops",
      async (box, host) => {
        await Deno.mkdir(join(host, "d/drop"), { recursive: true });
        for (const name of ["a", "drop/b"]) await Deno.writeTextFile(join(host, "d", name), "1");
        const filter = ({ path }: { path: string }) => path !== "drop";
        await box.copyIn(join(host, "d"), "/root/owned", {
          filter,
          preserve: { owner: { uid: 1000, gid: 50 } },
        });
        assert.equal(
          await said(box, "cd /root/owned; find . | sort; stat -c %u:%g . a"),
          ".\n./a\n1000:50\n1000:50\n",
        );
        if (Deno.uid() !== 0) return;
        const owner = [{ inside: 1000, outside: 4000, count: 1 }, {
          inside: 50,
          outside: 6000,
          count: 1,
        }];
        await box.copyOut("/root/owned", join(host, "out"), { preserve: { owner } });
        assert.equal(Deno.statSync(join(host, "out/a")).uid, 4000);
        await rejects(
          "copy_failed",
          /map of owners/,
          () =>
            box.copyOut("/root/owned", join(host, "o"), { preserve: { owner: owner.slice(1) } }),
        );
      },
    ],
    [
      "Box.copyOut refuses what isn't a file, folder or symlink, and what is too much",
      async (box, host) => {
        await said(box, "cd /root; mkdir -p odd; mkfifo odd/fifo; ln -sf /etc/passwd odd/link");
        await rejects(
          "copy_failed",
          /it is a device/,
          () => box.copyOut("/dev/null", join(host, "n")),
        );
        await rejects(
          "copy_failed",
          /odd.*fifo: it is a fifo/,
          () => box.copyOut("/root/odd", join(host, "odd")),
        );
        await box.copyOut("/root/odd", join(host, "odd"), {
          filter: ({ kind }) => kind !== "other",
        });
        assert.equal(await Deno.readLink(join(host, "odd/link")), "/etc/passwd");
        await box.copyOut("/root/odd/link", join(host, "passwd"), { followSymlinks: true });
        assert(Deno.lstatSync(join(host, "passwd")).isFile);
        await rejects(
          "limit_exceeded",
          /more than 3 entries/,
          () => box.copyOut("/etc", join(host, "e"), { maxEntries: 3 }),
        );
        await rejects(
          "copy_failed",
          /^Cannot copy box:\/nope to .*: cannot find it: no such file/,
          () => box.copyOut("/nope", join(host, "x")),
        );
        await rejects(
          "plugin_failed",
          /not this one/,
          () => box.copyOut("/refused", join(host, "x")),
        );
        await box.copyOut("/proc/version", join(host, "version"));
        assert.match(await Deno.readTextFile(join(host, "version")), /^Linux version 6/);
      },
    ],
    ["Box.copyIn says what failed, and leaves no half file and no process", async (box, host) => {
      const count = () => said(box, "set -- /proc/[0-9]*; echo $#");
      const before = await count();
      await Deno.writeFile(join(host, "large"), new Uint8Array(4_000_000));
      // A tmpfs of 1 MiB.
      await rejects(
        "no_space",
        /^Cannot copy .*large to box:\/dev\/x: cannot write the file: no space/,
        () => box.copyIn(join(host, "large"), "/dev/x"),
      );
      assert.equal(
        await said(box, "ls /dev | grep -c x$ || true"),
        await said(box, "ls /dev | grep -v '^x$' | grep -c x$ || true"),
      );
      await rejects(
        "copy_failed",
        /cannot read it: i\/o error/,
        () => box.copyIn("/proc/self/mem", "/root/mem"),
      );
      await rejects(
        "copy_failed",
        /cannot find it/,
        () => box.copyIn(join(host, "none"), "/root/none"),
      );
      await rejects(
        "copy_failed",
        /no tar archive/,
        () =>
          box.copyIn(new Blob([crypto.getRandomValues(new Uint8Array(2048))]).stream(), "/root"),
      );
      const controller = new AbortController();
      const seen: number[] = [];
      await rejects("cancelled", /it was cancelled/, async () => {
        const copy = box.copyIn(endless(), "/root", { signal: controller.signal });
        for await (const { bytes } of copy) {
          seen.push(bytes);
          if (bytes > 300_000) controller.abort();
        }
      });
      assert(seen.length > 1, "no progress was told");
      assert.equal(await said(box, "ls /root/endless 2>/dev/null || echo gone"), "gone\n");
      // Ended by now, and soon gone.
      await until(async () => await count() === before, () => Promise.resolve("a process is left"));
    }],
    ["Box.copyIn and copyOut to a full disk say so, leave nothing and go on", async (box, host) => {
      const from = join(host, "from");
      const large = join(from, "large");
      const numbers = Uint32Array.from({ length: 2 * MEBIBYTE }, (_, n) => n);
      await Deno.mkdir(from);
      await Deno.writeFile(large, new Uint8Array(numbers.buffer));
      const words = "cannot write the file: no space left on device";
      const free = async () => Number(await said(box, "sync; echo $(($(stat -f -c '%f * %S' /)))"));
      // Not for all of it, but for some that goes past the page cache.
      await said(box, `fallocate -l ${await free() - 3 * MEBIBYTE} /fill`);
      const before = await free();
      for (const [source, path] of [[large, ""], [from, "large: "]] as const) {
        const text = new RegExp(`^Cannot copy ${source} to box:/full: ${path}${words}`);
        await rejects("no_space", text, () => box.copyIn(source, "/full"));
        assert.equal(await said(box, "ls -A /full 2>/dev/null; rm -fr /full"), "");
        assert.equal(await free(), before);
      }
      await said(box, "rm /fill");
      await box.copyIn(from, "/full");
      await box.copyOut("/full", join(host, "whole"));
      assert.deepEqual(await Deno.readFile(join(host, "whole/large")), await Deno.readFile(large));
      if (Deno.uid() !== 0) return;
      await using small = await SmallHome.make("size=3m");
      const to = join(small.path, "to");
      for (const [source, path] of [["/full/large", ""], ["/full", "large: "]] as const) {
        const text = new RegExp(`^Cannot copy box:${source} to ${to}: ${path}${words}`);
        await rejects("no_space", text, () => box.copyOut(source, to));
        const left = await Array.fromAsync(Deno.readDir(source === "/full" ? to : small.path));
        assert.deepEqual(left, []);
      }
      await box.copyOut("/etc/hostname", to);
    }],
    ["Box.copyIn and copyOut grow nothing", async (box, host) => {
      await makeTree(join(host, "from"));
      const files = () => [...Deno.readDirSync("/proc/self/fd")].length;
      const inside = () => said(box, "set -- /proc/[0-9]*; echo $#; set -- /proc/1/fd/*; echo $#");
      const round = async () => {
        await box.copyIn(join(host, "from"), "/dev/shm/soak");
        await box.copyOut("/dev/shm/soak", join(host, "to"));
      };
      await round();
      const before = [files(), await inside()];
      for (let n = 0; n < ROUNDS; n++) await round();
      assert.deepEqual([files(), await inside()], before);
    }],
    ["hutch cp copies both ways, and tar streams", async (box, host, home) => {
      await Deno.mkdir(join(host, "d"));
      await Deno.writeTextFile(join(host, "d/f"), "hello\n");
      const into = await hutch(home, ["cp", join(host, "d"), "box:/root/cp"]);
      assert.deepEqual([into.code, into.stdout, into.stderr], [0, "", ""]);
      const out = await hutch(home, ["cp", "box:/root/cp", host]);
      assert.deepEqual([out.code, out.stderr], [0, ""]);
      assert.equal(await Deno.readTextFile(join(host, "cp/f")), "hello\n");
      const tar = await hutch(home, ["cp", "box:/root/cp", "-"]);
      assert.deepEqual([tar.code, tar.stderr], [0, ""]);
      assert(
        new TextDecoder().decode(tar.stdoutBytes).includes("\0cp/f\0"),
        "the tar has other names",
      );
      assert.equal(
        (await hutch(home, ["cp", "-", "box:/dev/shm"], { stdin: tar.stdoutBytes })).code,
        0,
      );
      assert.equal(await said(box, "cat /dev/shm/cp/f"), "hello\n");
      const missing = await hutch(home, ["cp", join(host, "d/f"), "box:/no/such/f"]);
      assert.equal(missing.code, 125);
      assert.match(
        missing.stderr,
        /^hutch: Cannot copy .*d\/f to box:\/no\/such\/f: .*no such file or directory\n$/,
      );
    }],
  ];

function writeStream(...entries: TarFields[]): ReadableStream<Uint8Array> {
  return new Blob([writeTar(...entries)]).stream();
}

/** The tar of a file that never ends. */
function endless(): ReadableStream<Uint8Array> {
  let begun = false;
  return new ReadableStream({
    pull(controller) {
      const head = writeTar({ path: "endless", size: 8 ** 11 - 1, data: "" }).slice(0, 512);
      controller.enqueue(begun ? latin1("x".repeat(65_536)) : head);
      begun = true;
    },
  }, { highWaterMark: 0 });
}
