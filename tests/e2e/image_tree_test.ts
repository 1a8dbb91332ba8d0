/**
 * What a kernel makes of a disk that was built from layers: all that a program in the box can see of
 * a large random tree, against the model, and what attributes do.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Box } from "../../mod.ts";
import { fc } from "../deps.ts";
import { memoryImage } from "../support/fake_registry.ts";
import { modelOf, onlyAllowed } from "../support/layer_model.ts";
import { type Described, describeModel } from "../support/tree_description.ts";
import { tagged, TempLayout } from "../support/layout.ts";
import { archive } from "../support/layer_writer.ts";
import { randomLayers } from "../support/random_layers.ts";
import { latin1, type TarFields, writeTar } from "../support/tar.ts";
import { BOX, TEST_ENGINE, withRuntime } from "./support.ts";

const BUSYBOX = Deno.env.get("HUTCH_BUSYBOX") ?? "/bin/busybox";
const TREE_SEED = 4;
/** Many, so that much is left of it. */
const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789";
/** Random stacks put on one another. */
const STACKS = 12;
/** Names in one folder. */
const MANY = 20_000;

const ROOTS: readonly string[] = [".", ".wh..wh..opq"];

const KINDS: Readonly<Record<number, string>> = {
  0o010000: "fifo",
  0o020000: "char",
  0o040000: "folder",
  0o060000: "block",
  0o100000: "file",
  0o120000: "symlink",
};

/** A busybox that may do what its name says for whoever it belongs to. */
function programs(): readonly TarFields[] {
  const busybox = Deno.readFileSync(BUSYBOX);
  return [
    { path: "bin/", type: "5" },
    { path: "bin/busybox", mode: 0o755, data: busybox },
    { path: "bin/sh", type: "2", link: "busybox" },
    { path: "bin/cat", type: "2", link: "busybox" },
    // May read everything: CAP_DAC_OVERRIDE, permitted and effective.
    {
      path: "bin/capable/cat",
      mode: 0o755,
      data: busybox,
      pax: { "SCHILY.xattr.security.capability": `\x01\0\0\x02\x02${"\0".repeat(15)}` },
    },
  ];
}

async function inBox(
  layers: readonly Uint8Array<ArrayBuffer>[],
  run: (box: Box) => Promise<void>,
): Promise<void> {
  await withRuntime(async (runtime) => {
    await using layout = new TempLayout();
    const image = memoryImage(layers, Deno.build.arch === "aarch64" ? "arm64" : "amd64");
    layout.index(tagged(layout.add(image), "tree"));
    await using box = await runtime.create({ ...BOX, image: `oci:${layout.path}:tree` });
    await run(box);
  });
}

/** Everything below /, as a program in the box sees it. */
async function seen(box: Box): Promise<Map<string, Described>> {
  const list = await lines(
    box,
    'busybox find / -xdev -mindepth 1 -exec busybox stat -c "%n|%f|%u:%g|%h|%i|%s|%t:%T|%Y|%N" {} +',
  );
  const sums = new Map<string, string>();
  for (
    const line of await lines(
      box,
      'busybox find / -xdev -type f ! -path "/many/*" -exec busybox sha256sum {} +',
    )
  ) {
    sums.set(line.slice(66 + 1), line.slice(0, 64));
  }
  const groups = new Map<string, string[]>();
  const found = new Map<string, Described & { readonly inode: string }>();
  for (const line of list) {
    const [name = "", mode = "", owner = "", links, inode = "", size, device = "", time, both] =
      line.split("|");
    const [path, bits] = [name.slice(1), parseInt(mode, 16)];
    const kind = KINDS[bits & 0o170000] ?? "";
    groups.set(inode, [...groups.get(inode) ?? [], path]);
    found.set(path, {
      inode,
      kind,
      mode: (bits & 0o7777).toString(8),
      owner,
      time: Number(time),
      links: Number(links),
      ...(kind === "file" ? { size: Number(size), content: sums.get(path) ?? "" } : {}),
      ...(kind === "symlink" ? { target: both?.slice(name.length + 7, -1) ?? "" } : {}),
      ...(kind === "char" || kind === "block"
        ? { device: device.split(":").map((part) => parseInt(part, 16)).join(":") }
        : {}),
    });
  }
  return new Map([...found].map(([path, { inode, ...rest }]) => [
    path,
    { ...rest, same: groups.get(inode)?.sort().join(" ") ?? "" },
  ]));
}

async function lines(box: Box, command: string): Promise<string[]> {
  const { stdoutBytes, stderr, success } = await box.exec("sh", ["-c", command]);
  assert.ok(success, stderr);
  return new TextDecoder("latin1").decode(stdoutBytes).trimEnd().split("\n");
}

/** What of the model a program in the box can see. */
function visible(model: ReadonlyMap<string, Described>): Map<string, Described> {
  return new Map([...model].map(([path, { attributes: _, content, time, ...rest }]) => [path, {
    ...rest,
    time: Number(`${time}`.split("+")[0]),
    ...(content === undefined
      ? {}
      : { content: createHash("sha256").update(latin1(`${content}`)).digest("hex") }),
  }]));
}

/** A folder that needs an index of more than one level, with names that sort by no one's alphabet. */
function manyNames(): readonly TarFields[] {
  const names = Array.from(
    { length: MANY },
    (_, index) => index % 3 === 0 ? `\xff\xe9 ${index}` : `${index}-${"x".repeat(index % 40)}`,
  );
  return names.map((name) => ({ path: `many/${name}` }));
}

/** All about the host's side: the same whatever runs the guest. */
if (TEST_ENGINE === "qemu") {
  Deno.test("a box sees of 127 layers of a large random tree what their model says, and heeds their capabilities", async () => {
    const stacks = fc.sample(randomLayers(LETTERS), { seed: TREE_SEED, numRuns: STACKS }).flat();
    // The root's own rights decide what a box can do at all, and an opaque root hides the programs.
    const layers = onlyAllowed(
      stacks.map((layer) => layer.filter(({ entry }) => !ROOTS.includes(entry.path))),
    );
    const model = modelOf(layers);
    assert.ok(model);
    const expected = visible(describeModel(model));
    expected.delete("");
    assert.ok(expected.size > 100, `only ${expected.size} names`);
    const tops = new Set([...expected.keys()].map((path) => path.split("/")[0]));
    const secret = { path: "bin/secret", mode: 0o600, data: "secret" };
    const below = [writeTar(...programs(), secret), writeTar(...manyNames())];
    const thin = Array.from(
      { length: 127 - below.length - layers.length },
      (_, index) =>
        writeTar({ path: `thin/${index}` }, { path: "thin/last", data: `${index}` }, {
          path: `thin/.wh.${index - 1}`,
        }),
    );
    await inBox([...below, ...thin, ...layers.map(archive)], async (box) => {
      const all = await seen(box);
      const found = new Map([...all].filter(([path]) => tops.has(path.split("/")[0])));
      assert.deepEqual(found, expected);

      // It was asked about each name, which its kernel finds by the folder's index.
      const many = [...all.keys()].filter((path) => path.startsWith("many/"));
      assert.deepEqual(many.sort(), manyNames().map(({ path }) => path).sort());
      const last = `${thin.length - 1}`;
      assert.deepEqual(
        [...all.keys()].filter((path) => path.startsWith("thin/")).sort(),
        [`thin/${last}`, "thin/last"],
      );
      assert.equal(await box.sh`cat /thin/last`.text(), last);

      const cat = (program: string) => box.exec(program, ["/bin/secret"], { user: "70000" });
      assert.equal((await cat("/bin/cat")).success, false);
      assert.equal((await cat("/bin/capable/cat")).stdout, "secret");
    });
  });
}
