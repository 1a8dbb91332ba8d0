import assert from "node:assert/strict";
import { join } from "node:path";
import { knownDigest, sha256 } from "../../src/vmm/known_digest.ts";
import { TempFolder } from "../support/temp.ts";

const TEXT = "abc";
const DIGEST = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2, B.1

Deno.test("knownDigest gives a file's digest, and that of the one that has taken its place", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "file");
  await Deno.writeTextFile(path, TEXT);
  assert.equal(await knownDigest(folder.path, "it", path), DIGEST);
  assert.equal(await knownDigest(folder.path, "it", path), DIGEST);
  await Deno.writeTextFile(`${path}.new`, "other");
  await Deno.rename(`${path}.new`, path);
  assert.equal(await knownDigest(folder.path, "it", path), sha256("other"));
  await Deno.remove(path);
  await assert.rejects(knownDigest(folder.path, "it", path), Deno.errors.NotFound);
});

Deno.test("another program reads nothing but what was remembered, unless that is damaged", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "file");
  await Deno.writeTextFile(path, TEXT);
  const elsewhere = async () => {
    const module = import.meta.resolve("../../src/vmm/known_digest.ts");
    const script = `const { knownDigest } = await import(${JSON.stringify(module)});
      console.log(await knownDigest(${JSON.stringify(folder.path)}, "it", ${
      JSON.stringify(path)
    }));`;
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-config", "--no-lock", script],
      stderr: "inherit",
    }).output();
    return new TextDecoder().decode(stdout).trim();
  };
  assert.equal(await elsewhere(), DIGEST);
  const [name = ""] = Array.from(Deno.readDirSync(folder.path), ({ name }) => name)
    .filter((name) => /^it-[0-9a-f]{32}$/.test(name));
  await Deno.writeTextFile(join(folder.path, name), sha256("remembered"));
  assert.equal(await elsewhere(), sha256("remembered"));
  await Deno.writeTextFile(join(folder.path, name), "damaged");
  assert.equal(await elsewhere(), DIGEST);
});
