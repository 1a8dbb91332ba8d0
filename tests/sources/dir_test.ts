/**
 * The source `dir`: what of a folder gets into an image, and what never does.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  hostPlatform,
  HutchError,
  type ImageSource,
  packFolder,
  type PackFolderOptions,
} from "../../mod.ts";
import { dirSource } from "../../plugins/sources/dir.ts";
import { MemoryImageRecords } from "../../src/images/records.ts";
import { ImageStore } from "../../src/images/store.ts";
import { buildBaseDisk } from "../../src/images/base_disk/unpack.ts";
import { digestOf } from "../../src/images/digest.ts";
import { sourceContract } from "../contracts/source.ts";
import { checkExt4, type Ext4Entry, readExt4 } from "../support/ext4.ts";
import "../support/native.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const PROGRAM = fileURLToPath(new URL("../support/pack_program.ts", import.meta.url));
const FOREVER = new AbortController().signal;
const TOOLS = needs("debugfs", "e2fsck", "mknod", "setfattr", "find");
const AS_ROOT = Deno.uid() === 0
  ? { note: "", ignore: false }
  : { note: " (as root)", ignore: true };

/** One of every kind, made by a shell: names may be any bytes. */
const KINDS = String.raw`
  mkdir -p etc 'with space' deep/er empty; chmod 1777 empty; chmod 711 .
  printf content > etc/file; chmod 4751 etc/file; chown 12:3000000 etc/file
  touch -d '1950-01-02 03:04:05.678901234' etc/old; touch -d '2300-01-01' etc/late
  ln etc/file deep/er/again; ln etc/file 'with space/too'
  ln -s ../../../../etc/shadow etc/link; ln -s / all; ln -s "$(printf 'x%.0s' $(seq 300))" long-target
  ln -P etc/link etc/link-again
  mkfifo etc/pipe; mknod etc/null c 1 3; mknod etc/disk b 259 70000
  : > "$(printf 'not-\377-utf8')"; : > 'back\slash'
  mkdir "$(printf 'd%.0s' $(seq 200))"; printf deep > "$(printf 'd%.0s' $(seq 200))/$(printf 'f%.0s' $(seq 255))"
  setfattr -n user.text -v value etc/file; setfattr -n user.bytes -v 0x00ff0a3d etc
  setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 etc/old
  truncate -s 300M sparse; printf here | dd of=sparse bs=1 seek=100000000 conv=notrunc status=none
  truncate -s 5G all-hole
  head -c 700000 /dev/urandom > random`;

async function shell(folder: string, script: string): Promise<void> {
  await runTool("sh", "-c", `set -e; cd "$1"; ${script}`, "sh", folder);
}

async function bytesOf(
  path: string,
  options?: PackFolderOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  using packed = await packFolder(path, options);
  const bytes = new Uint8Array(await new Response(packed.stream(FOREVER)).arrayBuffer());
  assert.deepEqual([bytes.length, digestOf(bytes)], [packed.size, packed.digest]);
  return bytes;
}

/** The base disk of the folder's image, read back. */
async function diskOf(
  path: string,
  options?: PackFolderOptions,
): Promise<Map<string, Ext4Entry>> {
  await using folder = new TempFolder();
  const layer = join(folder.path, "layer");
  const bytes = await bytesOf(path, options);
  await Deno.writeFile(layer, bytes);
  const output = join(folder.path, "disk");
  await buildBaseDisk({
    layers: [{
      path: layer,
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      diffId: digestOf(bytes),
    }],
    uuidFrom: "test",
    output,
    signal: FOREVER,
  });
  await checkExt4(output);
  return await readExt4(output);
}

/** What find says of every name: kind, mode, owner, links, size, time, target. */
async function found(path: string): Promise<Map<string, readonly string[]>> {
  const { stdout } = await new Deno.Command("find", {
    args: [path, "-printf", "%P\\0%y\\0%m\\0%U\\0%G\\0%n\\0%s\\0%T@\\0%l\\0"],
  }).output();
  const fields = [...stdout].map((byte) => String.fromCharCode(byte)).join("").split("\0");
  const entries = new Map<string, readonly string[]>();
  for (let at = 0; at + 9 <= fields.length; at += 9) {
    entries.set(fields[at] ?? "", fields.slice(at + 1, at + 9));
  }
  return entries;
}

const TYPES: Readonly<Record<string, string>> = {
  f: "regular",
  d: "directory",
  l: "symlink",
  p: "FIFO",
  c: "character",
  b: "block",
};

/** The same of the disk's. */
function told(entry: Ext4Entry, model: readonly string[]): readonly string[] {
  const kind = Object.keys(TYPES).find((key) => TYPES[key] === entry.type) ?? entry.type;
  // Folders' sizes and counts are the file systems' own affair.
  const [size, links] = kind === "d" ? [model[5] ?? "", model[4] ?? ""] : [
    `${entry.type === "regular" || entry.type === "symlink" ? entry.size : 0}`,
    `${entry.links}`,
  ];
  // Seconds downwards, their fraction upwards: as find puts it.
  const time = `${entry.seconds}.${`${entry.nanos}`.padStart(9, "0")}0`;
  const mode = (entry.mode & 0o7777).toString(8);
  return [kind, mode, `${entry.uid}`, `${entry.gid}`, links, size, time, entry.target ?? ""];
}

sourceContract("dir", {
  source: dirSource().sources?.["dir"] ?? assert.fail(),
  hostile: [
    "?owner=root",
    "/a?owner=",
    "/a?owner=x",
    "/a?owner=1:2:0",
    "/a?x=1",
    "/a\n",
    "/a?owner=1",
  ],
  async setup() {
    const folder = new TempFolder();
    await shell(
      folder.path,
      "mkdir a; printf text > a/b; ln -s b a/c; head -c 600000 /dev/urandom > r",
    );
    return {
      reference: `${folder.path}/a/..?owner=root`,
      missing: join(folder.path, "none"),
      [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
    };
  },
});

Deno.test(`dirSource keeps every kind of entry as it is${TOOLS.note}${AS_ROOT.note}`, {
  ignore: TOOLS.ignore || AS_ROOT.ignore,
}, async () => {
  await using folder = new TempFolder();
  await shell(folder.path, KINDS);
  const model = await found(folder.path);
  const disk = await diskOf(folder.path);
  disk.delete("lost+found");
  assert.deepEqual([...disk.keys()].sort(), [...model.keys()].sort());
  for (const [path, entry] of disk) {
    const expected = model.get(path) ?? [];
    assert.deepEqual(told(entry, expected), expected, JSON.stringify(path));
  }
  const of = (path: string) => disk.get(path) ?? assert.fail(path);
  assert.equal(of("etc/file").inode, of("deep/er/again").inode);
  assert.equal(of("etc/file").inode, of("with space/too").inode);
  assert.equal(of("etc/link").inode, of("etc/link-again").inode);
  assert.deepEqual([of("etc/null").device, of("etc/disk").device], ["1:3", "259:70000"]);
  assert.deepEqual(of("etc/file").attributes, { "user.text": "value" });
  assert.deepEqual(of("etc").attributes, { "user.bytes": "\0\xff\n=" });
  assert.equal(of("etc/old").attributes["security.capability"]?.length, 20);
  assert.equal(of("etc/file").content, "content");
  assert.ok(of("sparse").blocks <= 64, `${of("sparse").blocks} blocks`);
  assert.equal(of("all-hole").blocks, 0);
  const random = await Deno.readFile(join(folder.path, "random"));
  const kept = Uint8Array.from(of("random").content ?? "", (character) => character.charCodeAt(0));
  assert.equal(digestOf(kept), digestOf(random));
});

Deno.test("dirSource gives the same bytes whatever order a folder was filled in", async () => {
  await using folder = new TempFolder();
  const names = Array.from({ length: 300 }, (_, index) => `name-${index * 7919 % 300}`);
  const trees = [names, names.toReversed()].map((order, index) => {
    const root = join(folder.path, `${index}`);
    Deno.mkdirSync(join(root, "below"), { recursive: true });
    for (const name of order) Deno.writeTextFileSync(join(root, "below", name), name);
    return root;
  });
  await shell(folder.path, "find . -exec touch -h -d 2020-01-01 {} +");
  const [one, two] = await Promise.all(trees.map((tree) => bytesOf(tree)));
  assert.ok(one && two && digestOf(one) === digestOf(two));
  assert.equal(digestOf(await bytesOf(trees[0] ?? "")), digestOf(one));
});

Deno.test(`dirSource gives files to whom it is told${TOOLS.note}${AS_ROOT.note}`, {
  ignore: TOOLS.ignore || AS_ROOT.ignore,
}, async () => {
  await using folder = new TempFolder();
  await shell(
    folder.path,
    "touch own low high; chown 1000:1000 own; chown 100000:100000 low; chown 165534:100005 high; chown 1000:1000 .",
  );
  const owners = async (owner: PackFolderOptions["owner"] & object | "keep") => {
    const disk = await diskOf(folder.path, { owner });
    return ["own", "low", "high"].map((name) => {
      const { uid, gid } = disk.get(name) ?? assert.fail(name);
      return `${uid}:${gid}`;
    });
  };
  assert.deepEqual(await owners("keep"), ["1000:1000", "100000:100000", "165534:100005"]);
  assert.deepEqual(await owners({ uid: 0, gid: 0 }), ["0:0", "0:0", "0:0"]);
  assert.deepEqual(await owners({ uid: 7, gid: 4294967294 }), Array(3).fill("7:4294967294"));
  const rootless = [
    { inside: 0, outside: 1000, count: 1 },
    { inside: 1, outside: 100000, count: 65536 },
  ];
  assert.deepEqual(await owners(rootless), ["0:0", "1:1", "65535:6"]);
  await assert.rejects(owners(rootless.slice(0, 1)), /"high": its owner 165534 isn't in the map/);
});

Deno.test("dirSource leaves out sockets, and waits for no pipe", async () => {
  await using folder = new TempFolder();
  await shell(folder.path, "mkfifo pipe; touch a z");
  using _socket = Deno.listen({ transport: "unix", path: join(folder.path, "socket") });
  using packed = await packFolder(folder.path);
  assert.deepEqual(packed.leftOut, { sockets: 1, mounts: 0 });
  const tar = new TextDecoder("latin1").decode(await bytesOf(folder.path));
  assert.ok(tar.includes("pipe") && !tar.includes("socket"));
});

const STEALTHY = 'stamp=$(stat -c %y .); rm z; touch -d "$stamp" .';

for (
  const [what, change, said] of [
    ["a file that grew", "echo more >> b/file", /"b\/file"/],
    ["a file that shrank", ": > b/file", /"b\/file"/],
    ["a file that was written over", "printf TEXT > b/file", /"b\/file"/],
    ["a file that is gone", "rm b/file", /"b\/?|: it isn't what it was/],
    ["a file that came", "touch b/new", /"b\/?|: it isn't what it was/],
    ["a link in place of a file", "ln -sf /etc/hostname b/file", /"b\/?|: it isn't what it was/],
    ["a link in place of a folder", "mv b c; ln -s c b", /"b\/?|: it isn't what it was/],
    [
      "a pipe in place of a file",
      "rm b/file; mkfifo b/file; touch -r z b/file",
      /"b\/?|: it isn't what it was/,
    ],
    ["a last file that is gone and wasn't noted", STEALTHY, /hutch-test-\w+: it changed/],
    ["other rights", "chmod 600 b/file", /"b\/file"/],
    ["a folder that is empty now", "rm -r b; mkdir b", /"b\/?|: it isn't what it was/],
  ] as const
) {
  Deno.test(`dirSource refuses ${what} since its first reading`, async () => {
    await using folder = new TempFolder();
    await shell(folder.path, "mkdir b; printf text > b/file; touch z");
    using packed = await packFolder(folder.path);
    await shell(folder.path, change);
    await assert.rejects(new Response(packed.stream(FOREVER)).arrayBuffer(), (error) => {
      assert.ok(error instanceof HutchError, String(error));
      assert.equal(error.code, "invalid_image", error.message);
      assert.match(error.message, said);
      assert.match(error.message, /changed while it was read|isn't what it was/);
      return true;
    });
  });
}

Deno.test("ImageStore.pull of a folder that changed meanwhile says so, and doesn't try for long", async () => {
  await using folder = new TempFolder();
  const root = join(folder.path, "root");
  await shell(folder.path, "mkdir root; head -c 3M /dev/urandom > root/file");
  const source = dirSource().sources?.["dir"] ?? assert.fail();
  let asked = 0;
  const changing: ImageSource = {
    ...source,
    async open(request) {
      const image = await source.open(request);
      await shell(root, "printf x | dd of=file conv=notrunc bs=1 seek=2000000 status=none");
      const blob: typeof image.blob = (digest, options) => {
        asked++;
        return image.blob(digest, options);
      };
      return { ...image, blob };
    },
  };
  const home = join(folder.path, "home");
  const store = new ImageStore({
    paths: {
      blobs: join(home, "blobs/sha256"),
      partial: join(home, "blobs/partial"),
      disks: join(home, "disks"),
    },
    records: new MemoryImageRecords(),
    sources: new Map([["dir", changing]]),
    platform: hostPlatform(),
    build: buildBaseDisk,
    retryDelayMs: 1,
  });
  await assert.rejects(store.pull(`dir:${root}`), (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, "invalid_image");
    assert.match(error.message, /^Cannot pull dir:.*: cannot read folder .*"file": it isn't what/);
    return true;
  });
  assert.equal(asked, 3, "the configuration, and the layer twice");
  assert.deepEqual(await store.list(), []);
});

for (
  const [uid, kept] of [[0, "12:34"], [1000, "0:0"]] as const
) {
  Deno.test(
    `dirSource gives a folder's files to ${kept} unless told otherwise when ${uid} runs hutch${TOOLS.note}${AS_ROOT.note}`,
    {
      ignore: TOOLS.ignore || AS_ROOT.ignore,
    },
    async () => {
      await using folder = new TempFolder();
      await shell(folder.path, "touch file; chown 12:34 file");
      const source = dirSource().sources?.["dir"] ?? assert.fail();
      const real = Deno.uid;
      Deno.uid = () => uid;
      try {
        await using image = await source.open({
          reference: folder.path,
          platform: hostPlatform(),
          credentials: () => Promise.resolve(undefined),
          signal: FOREVER,
        });
        const fixed = uid === 0 ? {} : { owner: { uid: 0, gid: 0 } };
        const [layer] = JSON.parse(new TextDecoder().decode(image.manifest)).layers;
        assert.equal(layer.digest, digestOf(await bytesOf(folder.path, fixed)));
        const file = (await diskOf(folder.path, fixed)).get("file");
        assert.equal(`${file?.uid}:${file?.gid}`, kept);
      } finally {
        Deno.uid = real;
      }
    },
  );
}

Deno.test("dirSource refuses a file that is written to all the time", async () => {
  await using folder = new TempFolder();
  await shell(folder.path, "head -c 100M /dev/zero | tr '\\0' x > file");
  const writer = new Deno.Command("sh", {
    args: ["-c", 'while [ -e "$1/file" ]; do echo >> "$1/file"; done', "sh", folder.path],
  }).spawn();
  try {
    await assert.rejects(packFolder(folder.path), /entry "file": it changed while it was read/);
  } finally {
    writer.kill("SIGKILL");
    await writer.status;
  }
});

Deno.test("dirSource refuses what can't be in a layer, or is too much", async () => {
  await using folder = new TempFolder();
  const refused = async (script: string, code: string, said: RegExp, maxEntries?: number) => {
    const path = await Deno.makeTempDir({ dir: folder.path });
    await shell(path, script);
    const options = maxEntries === undefined ? {} : { maxEntries };
    await assert.rejects(packFolder(path, options), (error) => {
      assert.ok(error instanceof HutchError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, said);
      return true;
    });
  };
  await refused("mkdir a; touch a/.wh.b", "invalid_image", /"a\/\.wh\.b": a layer can't hold/);
  await refused("touch .wh..wh..opq", "invalid_image", /begins with \.wh\./);
  await refused("mkdir -p $(printf 'a/%.0s' $(seq 256))", "limit_exceeded", /256 folders deep/);
  const two = "$(printf '%s/' $(printf 'n%.0s' $(seq 255)) $(printf 'm%.0s' $(seq 255)))";
  const deep = `mkdir -p ${two}${two}${two}${two}; mkdir -p x/${two}${two}${two}${two}; ` +
    `mv x ${two}${two}${two}${two}`;
  await refused(deep, "invalid_image", /too long/);
  await refused("touch 1 2 3 4", "limit_exceeded", /over 4 entries|too many names/, 4);
  await refused("mkdir a b; touch a/1 b/2", "limit_exceeded", /over 4 entries/, 4);
  await packFolder(folder.path, { signal: AbortSignal.abort() }).then(
    () => assert.fail(),
    (error: HutchError) => assert.equal(error.code, "cancelled"),
  );
});

/** Runs the program that packs a folder, inside of another. */
async function packAs(path: string, names: string, wrap: readonly string[]): Promise<string> {
  const [program = "", ...args] = [
    ...wrap,
    ...[Deno.execPath(), "run", "-A", "--quiet", "--no-check", PROGRAM, path, names],
  ];
  const { stdout, stderr } = await new Deno.Command(program, { args }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

Deno.test(`dirSource leaves out what is mounted inside${AS_ROOT.note}`, AS_ROOT, async () => {
  await using folder = new TempFolder();
  const root = join(folder.path, "root");
  await Deno.mkdir(join(root, "proc"), { recursive: true });
  await shell(root, "mkdir bind other; touch file other/seen; printf outside > ../outside");
  const mounts = 'cd "$0" && mount -t proc proc proc && mount --bind other bind && ' +
    'mount --bind ../outside file && exec "$@"';
  const names = join(folder.path, "tar");
  const said = await packAs(root, names, ["unshare", "-m", "sh", "-c", mounts, root]);
  assert.equal(said, '{"sockets":0,"mounts":3}\n');
  assert.deepEqual((await runTool("tar", "tf", names)).split("\n"), [
    ...["./", "bind/", "other/", "other/seen", "proc/", ""],
  ]);
});

Deno.test("dirSource says what it may not read", async () => {
  await using folder = new TempFolder();
  await shell(folder.path, "mkdir a; touch a/secret; chmod 0 a/secret");
  const wrap = Deno.uid() === 0
    ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    : ["env"];
  const said = await packAs(folder.path, join(folder.path, "../tar"), wrap);
  assert.match(said, /Cannot read folder .*: entry "a\/secret": Permission denied/);
});
