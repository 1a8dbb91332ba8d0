import assert from "node:assert/strict";
import { join } from "node:path";
import { repairHome, Runtime } from "../../mod.ts";
import "../support/native.ts";
import { TempFolder } from "../support/temp.ts";

const names = (home: string) =>
  [...Deno.readDirSync(join(home, "volumes"))].map(({ name }) => name);

Deno.test("Volumes.create by many at once gives one volume, and each finds what is in it", async () => {
  await using home = new TempFolder();
  await using runtime = await Runtime.open({ home: home.path });
  await using other = await Runtime.open({ home: home.path });
  const made = await Promise.all(
    Array.from({ length: 8 }, (_, n) => (n % 2 ? runtime : other).volumes.create({ name: "one" })),
  );
  assert.equal(new Set(made.map((each) => JSON.stringify(each))).size, 1);
  await Deno.writeTextFile(join(made[0]?.path ?? "", "file"), "kept");
  await runtime.volumes.create({ name: "one" });
  assert.equal(await Deno.readTextFile(join(made[0]?.path ?? "", "file")), "kept");
  assert.deepEqual(names(home.path), ["one"]);
});

Deno.test("Volumes.create with a size makes a disk of that size, and refuses what can't be one", async () => {
  await using home = new TempFolder();
  await using runtime = await Runtime.open({ home: home.path });
  const { path, sizeMiB } = await runtime.volumes.create({ name: "box", size: "32m" });
  assert.equal(sizeMiB, 32);
  const { size, blocks } = await Deno.stat(path);
  assert.equal(size, 32 * 2 ** 20);
  assert.ok((blocks ?? 0) * 512 < 2 ** 21, "it takes no room before something is in it");
  await assert.rejects(runtime.volumes.create({ name: "box", size: "33m" }), {
    code: "name_taken",
  });
  assert.equal((await runtime.volumes.create({ name: "box" })).path, path);
  for (const name of ["tmpfs", "disk", "disk:a", ".a", "a/b", "", "x".repeat(64), "../a"]) {
    await assert.rejects(runtime.volumes.create({ name }), { code: "invalid_option" });
  }
  await assert.rejects(runtime.volumes.create({ name: "s", size: "nothing" }), /is not a size/);
  await assert.rejects(runtime.volumes.create({ labels: { "": "x" } }), /a key isn't empty/);
  assert.deepEqual(names(home.path), ["box"]);
});

Deno.test("Volumes keeps what boxes have, from the moment a box is recorded until it goes", async () => {
  await using home = new TempFolder();
  await using runtime = await Runtime.open({ home: home.path });
  await runtime.volumes.create({ name: "data" });
  const volumes = ["data:/a", { volume: "later", guest: "/b" }];
  const box = await runtime.create({ image: "builtin:busybox", name: "web", volumes });
  await assert.rejects(runtime.volumes.remove("data"), {
    code: "volume_in_use",
    message: /box "web" has it/,
  });
  await runtime.volumes.create({ name: "later" });
  assert.deepEqual((await runtime.volumes.prune()).volumes, []);
  await box.rename("site");
  assert.deepEqual((await runtime.volumes.get("later")).boxes, [{ id: box.id, name: "site" }]);
  await box.remove();
  assert.deepEqual(names(home.path).sort(), ["data", "later"]);
  assert.deepEqual((await runtime.volumes.prune({ dryRun: true })).volumes, ["data", "later"]);
  await runtime.volumes.remove("data");
  assert.deepEqual((await runtime.volumes.prune()).volumes, ["later"]);
  assert.deepEqual(names(home.path), []);
  await assert.rejects(runtime.volumes.get("data"), { code: "volume_not_found" });
});

Deno.test("Volumes.create makes nothing over files whose record can't be read", async () => {
  await using home = new TempFolder();
  const place = join(home.path, "volumes", "one");
  {
    await using runtime = await Runtime.open({ home: home.path });
    for (
      const [file, content, record] of [
        ["data/file", "kept", "{"],
        ["data/file", "kept", "null"],
        ["disk.img", "kept", '{"name":"one","createdAt":"x","labels":{},"sizeMiB":null}'],
        ["data/file", "kept", undefined],
      ] as const
    ) {
      await Deno.mkdir(join(place, "data"), { recursive: true });
      await Deno.writeTextFile(join(place, file), content);
      if (file === "disk.img") await Deno.remove(join(place, "data"));
      if (record !== undefined) await Deno.writeTextFile(join(place, "volume.json"), record);
      await assert.rejects(runtime.volumes.create({ name: "one" }), {
        code: "state_corrupt",
        message: /Cannot make volume "one": .* has files of one whose record/,
      });
      await runtime.volumes.prune();
      assert.equal(await Deno.readTextFile(join(place, file)), content);
      assert.deepEqual(names(home.path), ["one"]);
      await Deno.remove(place, { recursive: true });
    }
    // Nothing is lost with an empty one.
    await Deno.mkdir(join(place, "data"), { recursive: true });
    assert.equal((await runtime.volumes.create({ name: "one" })).path, join(place, "data"));
    // Files that somebody took away are made anew.
    await Deno.remove(join(place, "data"));
    assert.equal((await runtime.volumes.create({ name: "one" })).path, join(place, "data"));
    assert.ok((await Deno.stat(join(place, "data"))).isDirectory);
  }
});

Deno.test("repairHome finds named volumes again that lost their records", async () => {
  await using home = new TempFolder();
  {
    await using runtime = await Runtime.open({ home: home.path });
    const { path } = await runtime.volumes.create({ name: "data", labels: { team: "web" } });
    await Deno.writeTextFile(join(path, "file"), "kept");
    await runtime.volumes.create({ name: "bad" });
  }
  await Deno.writeTextFile(join(home.path, "volumes/bad/volume.json"), "{}");
  await Deno.writeTextFile(join(home.path, "state.db"), "nothing");
  const { volumes } = await repairHome({ home: home.path });
  assert.deepEqual([volumes.kept, volumes.restored], [0, ["data"]]);
  assert.match(volumes.lost[0]?.problem ?? "", /volume.json can't be read/);
  await using runtime = await Runtime.open({ home: home.path });
  const { labels, path } = await runtime.volumes.get("data");
  assert.deepEqual(labels, { team: "web" });
  assert.equal(await Deno.readTextFile(join(path, "file")), "kept");
});
