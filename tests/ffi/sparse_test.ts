import assert from "node:assert/strict";
import { makeImage } from "../support/layers.ts";
import { latin1, type TarFields, writeTar } from "../support/tar.ts";

/** 10,000 bytes: "A" at 512 to 1023, "B" at 8192 to 8291, holes else. */
const DATA = "A".repeat(512) + "B".repeat(100);
const CONTENT = "\0".repeat(512) + "A".repeat(512) + "\0".repeat(7168) + "B".repeat(100) +
  "\0".repeat(1708);

const octal = (value: number) => `${value.toString(8).padStart(11, "0")}\0`;
const pairs = (...numbers: number[]) => numbers.map(octal).join("");

const formats: readonly (readonly [string, TarFields])[] = [
  ["old GNU", {
    path: "f",
    type: "S",
    data: DATA,
    raw: { 386: pairs(512, 512, 8192, 100, 10000, 0), 483: octal(10000) },
  }],
  ["GNU 0.0", {
    path: "f",
    data: DATA,
    records: [
      ["GNU.sparse.size", "10000"],
      ["GNU.sparse.numblocks", "3"],
      ["GNU.sparse.offset", "512"],
      ["GNU.sparse.numbytes", "512"],
      ["GNU.sparse.offset", "8192"],
      ["GNU.sparse.numbytes", "100"],
      ["GNU.sparse.offset", "10000"],
      ["GNU.sparse.numbytes", "0"],
    ],
  }],
  ["GNU 0.1", {
    path: "GNUSparseFile.0/f",
    data: DATA,
    pax: {
      "GNU.sparse.size": "10000",
      "GNU.sparse.name": "f",
      "GNU.sparse.map": "512,512,8192,100,10000,0",
    },
  }],
  ["GNU 1.0", {
    path: "GNUSparseFile.0/f",
    data: "3\n512\n512\n8192\n100\n10000\n0\n".padEnd(512, "\0") + DATA,
    pax: {
      "GNU.sparse.major": "1",
      "GNU.sparse.minor": "0",
      "GNU.sparse.name": "f",
      "GNU.sparse.realsize": "10000",
    },
  }],
];

for (const [name, entry] of formats) {
  Deno.test(`Ext4Image.applyLayer keeps the holes of a sparse file in format ${name}`, async () => {
    const tar = writeTar(entry, { path: "after", data: "after" });
    const entries = await makeImage([tar], { pieceSize: 100 });
    assert.deepEqual([...entries.keys()].sort(), ["", "after", "f"]);
    const file = entries.get("f");
    assert.equal(file?.size, 10000);
    assert.equal(file?.content, CONTENT);
    assert.equal(file?.blocks, 2 * 8);
    assert.equal(entries.get("after")?.content, "after");
  });
}

Deno.test("Ext4Image.applyLayer keeps sparse files with thousands of ranges", async () => {
  // Each range has a block of its own with a hole behind it: two levels of extents, then more.
  for (const count of [5, 340, 341, 3000]) {
    const map = Array.from({ length: count }, (_, index) => [index * 8192, 512]).flat();
    const text = [count, ...map].join("\n") + "\n";
    const padded = text.padEnd(Math.ceil(text.length / 512) * 512, "\0");
    const data = latin1(padded + "x".repeat(512 * count));
    const pax = {
      "GNU.sparse.major": "1",
      "GNU.sparse.minor": "0",
      "GNU.sparse.name": "f",
      "GNU.sparse.realsize": `${count * 8192 + 2 ** 40}`,
    };
    const file = (await makeImage([writeTar({ path: "f", data, pax })])).get("f");
    assert.equal(file?.size, count * 8192 + 2 ** 40);
    const tree = count <= 4
      ? 0
      : Math.ceil(count / 340) > 4
      ? Math.ceil(count / 340) + 1
      : Math.ceil(count / 340);
    assert.equal(file?.blocks, (count + tree) * 8);
  }
});

Deno.test("Ext4Image.applyLayer reads old sparse maps that go on in further blocks", async () => {
  const rest = pairs(...Array.from({ length: 22 }, (_, index) => [(index + 4) * 4096, 512]).flat());
  const blocks = rest.slice(0, 21 * 24).padEnd(504, "\0") + "\x01" + "\0".repeat(7) +
    rest.slice(21 * 24).padEnd(512, "\0");
  const first = pairs(0, 512, 4096, 512, 8192, 512, 12288, 512);
  const entry: TarFields = {
    path: "f",
    type: "S",
    data: blocks + "y".repeat(26 * 512),
    size: 26 * 512,
    raw: { 386: first, 482: "\x01", 483: octal(26 * 4096) },
  };
  const file = (await makeImage([writeTar(entry)])).get("f");
  assert.equal(file?.content, ("y".repeat(512) + "\0".repeat(3584)).repeat(26));
});
