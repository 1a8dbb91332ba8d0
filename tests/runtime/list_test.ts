import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type ListOptions, repairHome, Runtime } from "../../mod.ts";
import { main } from "../../src/cli/main.ts";
import { filterOf } from "../../src/runtime/list.ts";
import { memoryIo } from "../cli/helpers.ts";
import "../support/native.ts";
import { TempFolder } from "../support/temp.ts";

const IMAGE = "builtin:busybox";

Deno.test("filterOf refuses what is no state, order, count or name, with a near miss", () => {
  const table: [Record<string, unknown>, RegExp, RegExp | undefined][] = [
    [{ status: "runing" }, /"runing" is not a box's state$/, /did you mean running\?/],
    [{ status: ["running", "x"] }, /"x" is not a box's state$/, /take one of configured, /],
    [{ sort: "size" }, /"size" is not a box's order$/, /take one of created, /],
    [{ limit: 0 }, /Cannot list 0 boxes/, undefined],
    [{ limit: 1.5 }, /Cannot list 1.5 boxes/, undefined],
    [{ limit: -1 }, /Cannot list -1 boxes/, undefined],
    [{ name: "" }, /a name of 0 characters/, undefined],
    [{ name: "*".repeat(257) }, /a name of 257 characters/, undefined],
  ];
  for (const [options, message, hint] of table) {
    // As a program without types would.
    assert.throws(() => filterOf(Object.assign({}, options)), (error: unknown) => {
      assert(error instanceof Error && "code" in error && "hint" in error);
      assert.equal(error.code, "invalid_option");
      assert.match(error.message, message);
      assert.match(String(error.hint), hint ?? /undefined/);
      return true;
    });
  }
});

Deno.test("filterOf takes active boxes unless all or some states are asked for", () => {
  const statuses = (options: ListOptions) => filterOf(options).statuses?.join(" ");
  assert.equal(statuses({}), "starting running pausing paused stopping");
  assert.equal(statuses({ all: true }), undefined);
  assert.equal(statuses({ status: "failed" }), "failed");
  assert.equal(statuses({ all: true, status: ["failed", "stopped"] }), "failed stopped");
});

Deno.test("Runtime.list gives what info gives, copied and as JSON too", async () => {
  await using folder = new TempFolder();
  await using runtime = await Runtime.open({ home: folder.path });
  await using box = await runtime.create({ image: IMAGE, name: "a", labels: { team: "web" } });
  const info = await box.info();
  const [listed] = await runtime.list({ all: true });
  assert.equal(Deno.inspect(listed), Deno.inspect(info));
  assert.deepEqual({ ...listed }, info);
  assert.deepEqual(structuredClone(listed), info);
  assert.equal(JSON.stringify(listed), JSON.stringify(info));
  await box.remove();
  assert.equal(listed?.config.labels.team, "web");
});

Deno.test("Runtime.list pages after a box that was removed meanwhile", async () => {
  await using folder = new TempFolder();
  await using runtime = await Runtime.open({ home: folder.path });
  for (const name of ["a", "b", "c", "d"]) await runtime.create({ image: IMAGE, name });
  const page = { all: true, sort: "name", limit: 2 } as const;
  const first = await runtime.list(page);
  assert.deepEqual(first.map(({ name }) => name), ["a", "b"]);
  const last = first.at(-1);
  assert(last);
  await (await runtime.get("b")).remove();
  await runtime.create({ image: IMAGE, name: "aa" });
  const second = await runtime.list({ ...page, after: last });
  assert.deepEqual(second.map(({ name }) => name), ["c", "d"]);
});

Deno.test("Runtime.list and hutch ls tell of a damaged record, and list the others", async () => {
  await using folder = new TempFolder();
  const logged: string[] = [];
  {
    await using runtime = await Runtime.open({ home: folder.path });
    for (const name of ["good", "bad"]) await runtime.create({ image: IMAGE, name });
  }
  {
    using database = new DatabaseSync(join(folder.path, "state.db"));
    database.exec("UPDATE boxes SET config = 'x' WHERE name = 'bad'");
  }
  {
    await using runtime = await Runtime.open({
      home: folder.path,
      log: (line) => logged.push(line),
    });
    assert.deepEqual((await runtime.list({ all: true })).map(({ name }) => name), ["good"]);
  }
  assert.match(logged.join("\n"), /^Cannot read the record of box "bad" \([0-9a-f]{12}\): /);
  const io = memoryIo();
  assert.equal(await main(["--home", folder.path, "--no-config", "ls", "-aq"], io), 0);
  assert.match(io.stdout.text, /^[0-9a-f]{12}\n$/);
  assert.match(
    io.stderr.text,
    /^hutch: box bad \([0-9a-f]{12}\) is left out, its record is damaged: .*; hutch doctor --repair restores it\n$/,
  );
});

Deno.test("a box's folder keeps its configuration as it is created, renamed and updated", async () => {
  await using folder = new TempFolder();
  let expected: unknown;
  {
    await using runtime = await Runtime.open({ home: folder.path });
    const box = await runtime.create({ image: IMAGE, name: "one" });
    const file = join(folder.path, "boxes", box.id, "box.json");
    assert.deepEqual(JSON.parse(await Deno.readTextFile(file)), (await box.info()).config);
    await box.rename("two");
    await box.update({ labels: { a: "b" } });
    expected = (await box.info()).config;
    assert.deepEqual(JSON.parse(await Deno.readTextFile(file)), expected);
    // What is refused is written nowhere.
    await runtime.create({ image: IMAGE, name: "three" });
    await assert.rejects(async () => await box.rename("three"), { code: "name_taken" });
    assert.deepEqual(JSON.parse(await Deno.readTextFile(file)), expected);
    await assert.rejects(runtime.create({ image: IMAGE, name: "two" }), { code: "name_taken" });
    assert.equal([...Deno.readDirSync(join(folder.path, "boxes"))].length, 2);
    await (await runtime.get("three")).remove();
  }
  await Deno.remove(join(folder.path, "state.db"));
  await repairHome({ home: folder.path });
  await using runtime = await Runtime.open({ home: folder.path });
  assert.deepEqual((await runtime.list({ all: true })).map(({ config }) => config), [expected]);
  assert.equal((await runtime.list({ all: true, labels: { a: "b" } })).length, 1);
});
