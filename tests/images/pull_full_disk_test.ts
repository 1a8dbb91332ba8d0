import assert from "node:assert/strict";
import { HutchError } from "../../src/errors.ts";
import { buildBaseDisk } from "../../src/images/base_disk/unpack.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { filesIn, imageStore } from "../support/image_store.ts";
import "../support/native.ts";
import { writeTar } from "../support/tar.ts";
import { SmallHome } from "../support/small_home.ts";
import { needs } from "../support/tools.ts";

const IMAGE = memoryImage([
  writeTar({ path: "large", data: someBytes(600_000) }),
  writeTar({ path: "second", data: someBytes(300_000, 2) }),
]);

const { ignore, note } = needs("mount", "umount");
const rootNote = Deno.uid() === 0 ? "" : " (needs root)";

/** Pulls until there is room, and says how far it came. */
async function pullInto(options: string): Promise<"no room" | "room"> {
  await using home = await SmallHome.make(options);
  await using registry = new FakeRegistry();
  registry.addImage("a/b:1", IMAGE);
  const store = imageStore(home.path, { build: buildBaseDisk });
  const pull = () => store.pull(`${registry.host}/a/b:1`, { disk: true });
  try {
    await pull();
    return "room";
  } catch (error) {
    assert.ok(error instanceof HutchError && error.code === "no_space", `${options}: ${error}`);
    assert.match(error.message, /^Cannot (?:pull|write|make|store|use|unpack) .*no space is left/);
    assert.ok(error.message.includes(home.path), error.message);
    assert.match(error.hint ?? "", /free some room/);
  }
  // What it took is given back, since nothing can be done with it before there is room.
  assert.deepEqual(filesIn(home.path), {}, options);
  assert.deepEqual(await store.list(), []);
  await home.grow();
  await pull();
  return "no room";
}

for (
  const [what, option, values] of [
    ["bytes", "size=", ["16k", "400k", "1100k", "1500k", "8000k"]],
    ["files", "nr_inodes=", ["2", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "40"]],
  ] as const
) {
  Deno.test({
    name: `ImageStore.pull says where no space is left, whatever ${what} are missing${
      note || rootNote
    }`,
    ignore: ignore || rootNote !== "",
    async fn() {
      const told = [];
      for (const value of values) told.push(await pullInto(`${option}${value}`));
      assert.ok(told.filter((each) => each === "no room").length >= 4, told.join());
      assert.equal(told.at(-1), "room");
    },
  });
}
