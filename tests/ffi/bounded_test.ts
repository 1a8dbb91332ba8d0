import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { writeImage } from "../support/layers.ts";
import { concat, tarEntry, type TarFields } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";

const COUNT = 30_000;
/** What costs one entry's time for each of the others would be thousands of times over. */
const FACTOR = 15;

type Layer = readonly TarFields[];

const many = (entry: (index: number) => TarFields): Layer =>
  Array.from({ length: COUNT }, (_, index) => entry(index));
const files = many((index) => ({ path: `d/${index}` }));

const hostile: readonly (readonly [string, readonly Layer[]])[] = [
  ["opaque marks in one folder", [[...files, ...many(() => ({ path: "d/.wh..wh..opq" }))]]],
  ["whiteouts of one folder", [[...files, ...many(() => ({ path: ".wh.d" }))]]],
  [
    "opaque marks and new files in turn",
    [files, many((index) => ({ path: index % 2 === 0 ? "d/.wh..wh..opq" : `d/new${index}` }))],
  ],
  ["whiteouts of lower files", [files, many((index) => ({ path: `d/.wh.${index}` }))]],
  ["whiteouts of nothing", [files, many((index) => ({ path: `d/.wh.no${index}` }))]],
  ["files of one name", [many((index) => ({ path: "f", data: `${index}` }))]],
  [
    "folders replaced by files",
    [[...files, ...many((index) => ({ path: "x", type: `${index % 2 * 5}` }))]],
  ],
  [
    "hard links made and replaced",
    [[
      { path: "a" },
      { path: "b" },
      ...many((index) => ({ path: `l${index % 7}`, type: "1", link: index % 2 ? "a" : "b" })),
    ]],
  ],
];

/** Processor time, in seconds, that it takes to make an image. */
async function cost(layers: readonly Layer[]): Promise<number> {
  await using folder = new TempFolder();
  const tars = layers.map((layer) => concat(layer.map(tarEntry)));
  const before = process.cpuUsage();
  await writeImage(join(folder.path, "image"), tars);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

Deno.test("Ext4Image.applyLayer takes time in proportion to a layer's entries, whatever they are", async () => {
  const plain = await cost([files]);
  for (const [name, layers] of hostile) {
    const ratio = await cost(layers) / plain;
    assert.ok(ratio < FACTOR, `${name}: ${ratio.toFixed(1)} times that of plain files`);
  }
});
