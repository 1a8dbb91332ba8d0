import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildTarget } from "../../ffi/build.ts";
import { fc } from "../deps.ts";
import { checkExt4 } from "../support/ext4.ts";
import { onlyAllowed } from "../support/layer_model.ts";
import { archive } from "../support/layer_writer.ts";
import { randomLayers } from "../support/random_layers.ts";
import { type TarFields, writeTar } from "../support/tar.ts";
import { MEMORY, TempFolder } from "../support/temp.ts";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** More for a soak: `FUZZ_ROUNDS=100000 deno test …`. */
const ROUNDS = Number(Deno.env.get("FUZZ_ROUNDS") ?? 2000);
/** Random layers that are changed as well. */
const RANDOM_STACKS = 30;
const SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

const octal = (value: number) => `${value.toString(8).padStart(11, "0")}\0`;

/** Between them they reach every part of the parser. */
const seeds: readonly (readonly TarFields[])[] = [
  [
    { path: "d/", type: "5", uid: 3e9, mtime: -5 },
    { path: "d/f", data: "x".repeat(9000) },
    { path: "d/l", type: "1", link: "d/f" },
    { path: "s", type: "2", link: "d" },
    { path: "s/below", data: "y" },
    { path: "c", type: "3", major: 1, minor: 300 },
    { path: "p", type: "6" },
  ],
  [
    { path: "x", gnuPath: `${"n/".repeat(100)}${"m".repeat(255)}`, data: "1" },
    { path: "x", type: "2", gnuLink: "t".repeat(300) },
    { path: "y", raw: { 345: "prefix" } },
  ],
  [
    { path: ".wh.d" },
    { path: "s/.wh..wh..opq" },
    { path: "d/.wh.f" },
    { path: "d", data: "now a file" },
    { path: ".wh..wh.plnk/1" },
  ],
  [
    {
      path: "f",
      data: "content",
      pax: {
        "SCHILY.xattr.user.a": "v".repeat(200),
        "SCHILY.xattr.security.capability": "\x01\0\0\x02\0\x04\0\0",
        "SCHILY.xattr.system.posix_acl_access":
          "\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x05\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff",
        mtime: "-1.5",
        uid: "70000",
      },
    },
    { path: "g", pax: { path: "\xff\xfe", linkpath: "l", size: "3" }, data: "abc" },
  ],
  [{
    path: "f",
    type: "S",
    data: "x".repeat(1024),
    raw: { 386: [0, 512, 8192, 512, 20000, 0].map(octal).join(""), 483: octal(20000) },
  }],
  [{
    path: "f",
    data: "2\n512\n512\n8192\n100\n".padEnd(512, "\0") + "x".repeat(612),
    pax: {
      "GNU.sparse.major": "1",
      "GNU.sparse.minor": "0",
      "GNU.sparse.name": "f",
      "GNU.sparse.realsize": "10000",
    },
  }],
  [{
    path: "f",
    data: "x".repeat(612),
    records: [
      ["GNU.sparse.size", "10000"],
      ["GNU.sparse.offset", "512"],
      ["GNU.sparse.numbytes", "512"],
      ["GNU.sparse.offset", "8192"],
      ["GNU.sparse.numbytes", "100"],
    ],
  }, { path: "g", data: "x", pax: { "GNU.sparse.size": "9", "GNU.sparse.map": "3,1,9,0" } }],
  [{ path: "g", type: "g", data: "20 comment=whatever\n" }, { path: "v", type: "V" }],
  Array.from(
    { length: 150 },
    (_, index): TarFields => ({ path: `d/a-name-that-is-long-${index}` }),
  ),
];

Deno.test("hutch_ext4_layer_push survives mutated layers under sanitizers, and what is finished is whole", async () => {
  await using folder = new TempFolder(MEMORY);
  const output = join(ROOT, "build", "fuzz-layers");
  await buildTarget({
    output,
    sources: [
      join(ROOT, "ffi", "helper"),
      join(ROOT, "ffi", "copy"),
      join(ROOT, "tests", "ffi", "fuzz"),
    ],
    headers: ["ffi", "ffi/helper", "tests/ffi"].map((folder) => join(ROOT, folder)),
    flags: ["-std=gnu11", "-Wall", "-Wextra", "-Werror", ...SANITIZED],
    libraries: ["-lext2fs", "-lcom_err", "-larchive", "-lzstd", "-ldl"],
  });
  const random = fc.sample(randomLayers("abcd"), { seed: 1, numRuns: RANDOM_STACKS })
    .flatMap((layers) => onlyAllowed([layers.flat()]));
  const tars = [...seeds.map((entries) => writeTar(...entries)), ...random.map(archive)];
  const paths: string[] = [];
  for (const [index, tar] of tars.entries()) {
    const path = join(folder.path, `seed-${index}`);
    await Deno.writeFile(path, tar);
    paths.push(path);
  }
  const { code, stdout, stderr } = await new Deno.Command(output, {
    args: [folder.path, `${ROUNDS}`, ...paths],
    env: { ASAN_OPTIONS: "detect_leaks=1" },
    stdin: "null",
  }).output();
  const text = new TextDecoder();
  assert.equal(code, 0, text.decode(stderr).slice(0, 4000));
  const [, refused, finished] = /^(\d+) refused, (\d+) finished$/m.exec(text.decode(stdout)) ?? [];
  assert.equal(Number(refused) + Number(finished), ROUNDS + tars.length);
  assert.ok(Number(finished) > ROUNDS / 10, `only ${finished} finished`);
  assert.ok(Number(refused) > ROUNDS / 10, `only ${refused} were refused`);
  const kept = [...Deno.readDirSync(folder.path)].filter(({ name }) => name.startsWith("keep-"));
  assert.ok(kept.length >= 3, `${kept.length} were kept`);
  for (const { name } of kept) await checkExt4(join(folder.path, name));
});
