/**
 * The image that the benchmark pulls: three layers of this machine's files.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { join } from "node:path";

/** The image, and what it is measured against. */
export interface BenchImage {
  /** An OCI layout with the tag `bench`. */
  readonly layout: string;
  readonly blobs: readonly string[];
  /** The image's files, unpacked. */
  readonly tree: string;
  /** How large it is, in words. */
  readonly description: string;
}

/** What each layer takes files from, how many bytes of them, and how many. */
const LAYERS = [
  { folders: ["/usr/lib/x86_64-linux-gnu", "/usr/lib/python3"], bytes: 190e6, most: 20e6 },
  { folders: ["/usr/bin", "/usr/sbin", "/usr/libexec"], bytes: 230e6, most: 20e6 },
  // Documents and the like: many, and small.
  { folders: ["/usr/share"], bytes: 75e6, most: 300e3 },
];

/** Makes the image in a folder. Needs umoci, tar and root. */
export async function makeImage(folder: string): Promise<BenchImage> {
  const layout = join(folder, "layout");
  const image = `${layout}:bench`;
  const tree = join(folder, "tree");
  await Deno.mkdir(tree);
  await run("umoci", "init", "--layout", layout);
  await run("umoci", "new", "--image", image);
  let [bytes, entries] = [0, 0];
  const taken = new Set<string>();
  for (const [index, layer] of LAYERS.entries()) {
    const files = await choose(layer, taken);
    const list = join(folder, `list-${index}`);
    const tar = join(folder, `layer-${index}.tar`);
    await Deno.writeTextFile(list, files.map((path) => `${path}\0`).join(""));
    await run("tar", "-C", "/", "--null", "--verbatim-files-from", "-T", list, "-cf", tar);
    await run("tar", "-C", tree, "-xf", tar);
    await run("umoci", "raw", "add-layer", "--image", image, tar);
    bytes += (await Deno.stat(tar)).size;
    entries += files.length;
    await Deno.remove(tar);
  }
  const blobs = await layerBlobs(layout);
  const sizes = await Promise.all(blobs.map(async (path) => (await Deno.stat(path)).size));
  const packed = sizes.reduce((sum, size) => sum + size, 0);
  const megabytes = (size: number) => `${Math.round(size / 1e6)} MB`;
  const description = `${megabytes(packed)} of gzip, ${megabytes(bytes)} of tar, ${entries} files`;
  return { layout, blobs, tree, description };
}

/** Files by their names until there are enough bytes; paths without the first slash. */
async function choose(
  { folders, bytes, most }: (typeof LAYERS)[number],
  taken: Set<string>,
): Promise<string[]> {
  const there = folders.filter((folder) => existsSync(folder));
  const wanted = ["-xdev", "-type", "f", "-size", `-${most}c`, "-printf", "%p\\t%s\\n"];
  const chosen: string[] = [];
  let sum = 0;
  for (const line of (await run("find", ...there, ...wanted)).split("\n").sort()) {
    const [path = "", size] = line.slice(1).split("\t");
    if (path === "" || taken.has(path)) continue;
    taken.add(path);
    chosen.push(path);
    sum += Number(size) + 512;
    if (sum > bytes) break;
  }
  return chosen;
}

async function layerBlobs(layout: string): Promise<string[]> {
  const blobs = join(layout, "blobs", "sha256");
  const found: string[] = [];
  for await (const { name } of Deno.readDir(blobs)) {
    const path = join(blobs, name);
    if ((await Deno.stat(path)).size > 1_000_000) found.push(path);
  }
  return found;
}

async function run(program: string, ...args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  if (success) return new TextDecoder().decode(stdout);
  throw new Error(`${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}
