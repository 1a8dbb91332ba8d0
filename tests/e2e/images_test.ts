/**
 * From a registry, or a folder, to what a command sees in the box.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { readExt4 } from "../support/ext4.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { summaries } from "../support/layers.ts";
import { copyImage, IMAGE_TOOLS, LONG_PATH, makeLayeredImage } from "../support/images.ts";
import { startRegistry } from "../support/registry.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { type CliResult, hutch, RUN, spawnHutch, TEST_ENGINE, until, withHome } from "./support.ts";

const { ignore, note } = needs(...IMAGE_TOOLS, "docker-registry");
const BUSYBOX = Deno.env.get("HUTCH_BUSYBOX") ?? "/bin/busybox";

/** A line per name: path, kind, mode, owner; of what isn't a folder links and content too. */
const LIST = `
  busybox find / -xdev -mindepth 1 | busybox sort | while read -r path; do
    line=$(busybox stat -c "%n %F %a %u:%g" "$path")
    [ -L "$path" ] && line="$line -> $(busybox readlink "$path")"
    [ -c "$path" ] && line="$line $(busybox stat -c "%t:%T" "$path")"
    [ -f "$path" ] && [ ! -L "$path" ] && line="$line x$(busybox stat -c %h "$path")"
    case "$path" in
      /bin/*|/etc/*) ;;
      *) [ -f "$path" ] && [ ! -L "$path" ] && line="$line: $(busybox cat "$path")" ;;
    esac
    echo "$line"
  done
  [ /data/a -ef /data/b ] && echo "one file"
`;

/** What {@link LIST} gives for the layered image, and what every box has besides. */
const TREE = [
  "/bin directory 755 0:0",
  "/bin/busybox regular file 755 0:0 x1",
  "/bin/sh symbolic link 777 0:0 -> busybox",
  "/data directory 755 0:0",
  "/data/a regular file 644 0:0 x2: changed",
  "/data/attr regular file 644 0:0 x1: attr",
  "/data/b regular file 644 0:0 x2: changed",
  "/data/fifo fifo 644 0:0",
  "/data/link symbolic link 777 0:0 -> a",
  "/data/null character special file 644 0:0 1:3",
  "/data/suid regular file 4755 1000:1000 x1: suid",
  "/dev directory 755 0:0",
  "/empty directory 755 0:0",
  "/etc directory 755 0:0",
  "/etc/group regular file 644 0:0 x1",
  "/etc/hostname regular file 644 0:0 x1",
  "/etc/hosts regular file 644 0:0 x1",
  "/etc/passwd regular file 644 0:0 x1",
  ...LONG_PATH.split("/").slice(0, -1).map((_, at, parts) =>
    `/${parts.slice(0, at + 1).join("/")} directory 755 0:0`
  ),
  `/${LONG_PATH} regular file 644 0:0 x1: long`,
  "/only-in-3 regular file 644 0:0 x1: three",
  "/opaque directory 755 0:0",
  "/opaque/new regular file 644 0:0 x1: new",
  "/proc directory 555 0:0",
  "/run directory 755 0:0",
  "/sys directory 555 0:0",
];

/** All about the host's side: the same whatever runs the guest. */
if (TEST_ENGINE === "qemu") {
  Deno.test(
    `hutch run sees the tree of an image's layers, gzip, zstd, folder or tar${note}`,
    {
      ignore,
    },
    () =>
      withHome(async (home) => {
        await using folder = new TempFolder();
        await using registry = await startRegistry();
        const layout = await makeLayeredImage(folder.path, { busybox: BUSYBOX });
        const remote = `${registry.host}/team/layered`;
        // First: skopeo would take the layers that the registry then has in zstd, which it can't be.
        await copyImage(`oci:${layout}:latest`, `docker://${remote}:docker`, { format: "v2s2" });
        await copyImage(`oci:${layout}:latest`, `docker://${remote}:gzip`, { compression: "gzip" });
        await copyImage(`oci:${layout}:latest`, `docker://${remote}:zstd`, { compression: "zstd" });
        const tar = join(folder.path, "layout.tar");
        await runTool("tar", "-C", layout, "-cf", tar, ".");
        const saved = join(folder.path, "saved.tar");
        await copyImage(`oci:${layout}:latest`, `docker-archive:${saved}:layered:1`);
        const booted = [`${remote}:zstd`, `oci:${tar}:latest`];
        for (const image of booted) {
          // A network would write its /etc/resolv.conf beside the image's files.
          const options = ["--network", "none", "-u", "0"];
          const { code, stdout, stderr } = await run(home, [...options, image, "-c", LIST]);
          assert.equal(code, 0, `${image}: ${stderr}`);
          const lines = stdout.trimEnd().split("\n");
          assert.equal(lines.pop(), "one file", image);
          assert.deepEqual(lines.sort(), [...TREE].sort(), image);
        }
        // What the others' boxes would see is on their disks, as are extended attributes.
        const others = ["gzip", "docker"].map((tag) => `${remote}:${tag}`)
          .concat(`oci:${layout}`, `docker-archive:${saved}`);
        for (const image of others) {
          const { code, stderr } = await hutch(home, ["pull", "-q", image]);
          assert.equal(code, 0, `${image}: ${stderr}`);
        }
        const images = JSON.parse((await hutch(home, ["images", "--json"])).stdout);
        const trees = new Map<string, unknown>();
        for (const { reference, digest } of images) {
          if (reference === "builtin:busybox" || trees.has(digest)) continue;
          const disk = join(home, "disks", `${digest.replace("sha256:", "")}.ext4`);
          const tree = await readExt4(disk);
          assert.deepEqual(tree.get("data/attr")?.attributes, { "user.hutch": "bytes" }, reference);
          trees.set(digest, summaries(tree));
        }
        // The layout's image is the same in a folder and in an archive.
        assert.equal(trees.size, 5);
        const [first, ...rest] = trees.values();
        for (const tree of rest) assert.deepEqual(tree, first);
      }),
  );

  Deno.test(`hutch run applies the image's configuration, and options go before it${note}`, {
    ignore,
  }, () =>
    withHome(async (home) => {
      await using folder = new TempFolder();
      const image = `oci:${await makeLayeredImage(folder.path, { busybox: BUSYBOX })}`;
      const say = 'echo "$HUTCH $(pwd) $(busybox id -u):$(busybox id -g) $0 $*"';
      const cases: readonly (readonly [args: readonly string[], stdout: string])[] = [
        [[image], ""], // /bin/sh -c true
        [[image, "-c", say], "yes /data 1000:1000 /bin/sh \n"],
        [
          ["-e", "HUTCH=no", "-w", "/etc", "-u", "me:root", image, "-c", say],
          "no /etc 1000:0 /bin/sh \n",
        ],
        [["--entrypoint", "/bin/busybox", image, "echo", "mine"], "mine\n"],
        [["--entrypoint", "", image, "busybox", "echo", "none"], "none\n"],
      ];
      for (const [args, stdout] of cases) {
        const result = await run(home, args);
        assert.deepEqual([result.code, result.stdout], [0, stdout], result.stderr);
      }
      // An entrypoint of one's own takes the image's command away: nothing is left to run.
      const bare = await run(home, ["--entrypoint", "", image]);
      assert.equal(bare.code, 125);
      assert.match(bare.stderr, /^hutch: Cannot run ".*": it names no command of its own/);
    }));

  Deno.test(
    `hutch pull gets what hutch run then needs no registry for${note}`,
    { ignore },
    () =>
      withHome(async (home) => {
        await using folder = new TempFolder();
        let image: string;
        {
          await using registry = await startRegistry();
          image = `${registry.host}/team/layered:1`;
          const layout = await makeLayeredImage(folder.path, { busybox: BUSYBOX });
          await copyImage(`oci:${layout}:latest`, `docker://${image}`);
          const index = JSON.parse(await Deno.readTextFile(join(layout, "index.json")));
          const { digest } = index.manifests[0];

          const pulled = await hutch(home, ["pull", image]);
          assert.deepEqual([pulled.code, pulled.stdout], [0, `${digest}\n`], pulled.stderr);
          const [first = "", ...rest] = pulled.stderr.trimEnd().split("\n");
          const shown = digest.slice(0, "sha256:".length + 12);
          assert.ok(first.startsWith(`${image}: ${shown}, 3 layers, `), first);
          assert.equal(rest.length, 5);
          for (const line of rest.slice(0, 3)) {
            assert.match(line, /^sha256:[0-9a-f]{12}: fetched, [\d.]+ [KM]?i?B$/);
          }
          assert.equal(rest[3], `${image}: making the base disk`);
          assert.match(rest[4] ?? "", /: fetched [\d.]+ [KM]iB, in [\d.]+ s$/);

          const again = await hutch(home, ["pull", image]);
          assert.equal(again.stdout, pulled.stdout);
          assert.match(again.stderr, /: nothing new, in [\d.]+ s\n$/);
          const quiet = await hutch(home, ["pull", "--quiet", image]);
          assert.deepEqual([quiet.stdout, quiet.stderr], [pulled.stdout, ""]);

          const images = JSON.parse((await hutch(home, ["images", "--json"])).stdout);
          const mine = images.find((one: { digest: string }) => one.digest === digest);
          assert.deepEqual(
            [mine.reference, mine.layers.length, mine.config.entrypoint, mine.config.env.HUTCH],
            [`registry:${image}`, 3, ["/bin/sh"], "yes"],
          );
          const table = (await hutch(home, ["images"])).stdout;
          assert.match(table, /^IMAGE +DIGEST +PULLED +SIZE +BOXES$/m);
          assert.ok(table.split("\n").some((line) => line.includes(image) && line.includes(shown)));
        }
        // The registry is gone.
        const { code, stdout, stderr } = await run(home, [image, "-c", "echo one"]);
        assert.deepEqual([code, stdout, stderr], [0, "one\n", ""]);
        const gone = await hutch(home, ["pull", image]);
        assert.equal(gone.code, 125);
        assert.match(gone.stderr, /^hutch: Cannot reach 127\.0\.0\.1:/);
      }),
  );

  Deno.test("hutch run takes this machine's image out of an index, and no other's", () =>
    withHome(async (home) => {
      await using registry = new FakeRegistry();
      const [own, other] = Deno.build.arch === "aarch64" ? ["arm64", "amd64"] : ["amd64", "arm64"];
      const busybox = await Deno.readFile(BUSYBOX);
      const common = writeTar(
        { path: "bin", type: "5" },
        { path: "bin/busybox", mode: 0o755, data: busybox },
        { path: "bin/sh", type: "2", link: "busybox" },
      );
      const layers = (name: string) => [common, writeTar({ path: "which", data: `${name}\n` })];
      const mine = memoryImage(layers("mine"), own);
      const theirs = memoryImage(layers("theirs"), other);
      registry.addIndex("many:latest", { s390x: theirs, [other]: theirs, [own]: mine });
      registry.addIndex("strange:latest", { s390x: memoryImage(layers("strange"), "s390x") });

      const ran = await run(home, [`${registry.host}/many`, "busybox", "cat", "/which"]);
      assert.deepEqual([ran.code, ran.stdout], [0, "mine\n"], ran.stderr);
      const paths = registry.paths.join("\n");
      assert.ok(!paths.includes(theirs.layers[1] ?? "?"), paths);
      const asked = registry.requests.length;
      const again = await hutch(home, ["pull", "--policy", "missing", `${registry.host}/many`]);
      assert.equal(again.code, 0, again.stderr);
      assert.equal(registry.requests.length, asked, "an image that is here makes no request");

      const strange = await run(home, [`${registry.host}/strange`, "busybox", "true"]);
      assert.equal(strange.code, 125);
      assert.match(strange.stderr, new RegExp(`^hutch: Cannot .*/strange.*${own}.*s390x`));
      assert.deepEqual(JSON.parse((await hutch(home, ["ls", "-a", "--json"])).stdout), []);
    }));
}

if (TEST_ENGINE === "qemu") {
  for (
    const [command, signal, code] of [["pull", "SIGINT", 130], ["run", "SIGTERM", 143]] as const
  ) {
    Deno.test(`hutch ${command} that ${signal} ends leaves what the next pull goes on from`, async () => {
      await using home = new TempFolder();
      await using registry = new FakeRegistry();
      const bytes = writeTar({ path: "large", data: someBytes(8 << 20) });
      const image = memoryImage([bytes]);
      const [layer = ""] = image.layers;
      registry.addImage("slow:latest", image);
      const ended = new AbortController();
      registry.misbehave = (_, url) =>
        url.pathname.endsWith(layer) ? slowResponse(bytes, ended.signal) : undefined;
      const child = spawnHutch(home.path, [command, `${registry.host}/slow`]);
      const output = child.output();
      const partial = join(home.path, "blobs/partial", layer.replace("sha256:", ""));
      await until(
        async () => ((await Deno.stat(partial).catch(() => undefined))?.size ?? 0) > 0,
        () => Promise.resolve("the download doesn't begin"),
      );
      child.kill(signal);
      assert.equal((await output).code, code);
      ended.abort();
      const left = await Array.fromAsync(Deno.readDir(join(home.path, "blobs/partial")));
      assert.deepEqual(left.map(({ name }) => name), [layer.replace("sha256:", "")]);
      assert.deepEqual([...Deno.readDirSync(join(home.path, "boxes"))], []);
      assert.deepEqual(JSON.parse((await hutch(home.path, ["images", "--json"])).stdout), []);

      const { size } = await Deno.stat(partial);
      registry.misbehave = () => undefined;
      const again = await hutch(home.path, ["pull", `${registry.host}/slow`]);
      assert.deepEqual([again.code, again.stdout], [0, `${image.digest}\n`], again.stderr);
      const last = registry.requests.findLast(({ path }) => path.endsWith(layer));
      assert.equal(last?.headers.get("range"), `bytes=${size}-`);
      assert.deepEqual([...Deno.readDirSync(join(home.path, "blobs/partial"))], []);
    });
  }
}

/** Gives a little now and then until `ended`, and then breaks off. */
function slowResponse(bytes: Uint8Array<ArrayBuffer>, ended: AbortSignal): Response {
  let at = 0;
  const body = new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (ended.aborted || at + 4096 >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, at + 4096));
      at += 4096;
    },
  });
  return new Response(body, { headers: { "content-length": `${bytes.length}` } });
}

function run(home: string, args: readonly string[]): Promise<CliResult> {
  return hutch(home, ["run", "--rm", ...RUN, ...args]);
}
