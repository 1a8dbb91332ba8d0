import assert from "node:assert/strict";
import { join } from "node:path";
import { Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";

const HOUR_MS = 3_600_000;

Deno.test("a boot that can't be kept is tried twice in a row, then an hour later, and fails no start", async () => {
  const home = await makeDoubleHome();
  try {
    let tries = 0;
    const log: string[] = [];
    const double = engineDouble({ overlay: true, preboots: () => void tries++ });
    const start = async (options: { preboot?: boolean } = {}): Promise<number> => {
      const before = tries;
      await using runtime = await Runtime.open({
        ...{ home, plugins: [double], log: (line: string) => void log.push(line) },
        ...options,
      });
      await using box = await runtime.create(DOUBLE_BOX);
      await box.start();
      assert.equal((await box.info()).status, "running");
      return tries - before;
    };
    assert.equal(await start({ preboot: false }), 0);
    const tried = [];
    for (let n = 0; n < 5; n++) tried.push(await start());
    assert.deepEqual(tried, [0, 1, 1, 0, 0]);
    assert.equal(log.filter((line) => /kept in .* the double keeps nothing$/.test(line)).length, 2);
    const booted = join(home, "system", "booted");
    const [mark = ""] = [...Deno.readDirSync(booted)].map(({ name }) => name)
      .filter((name) => name.endsWith(".seen"));
    const text = await Deno.readTextFile(join(booted, mark));
    const early = { ...JSON.parse(text), atMs: Date.now() - HOUR_MS - 1 };
    await Deno.writeTextFile(join(booted, mark), JSON.stringify(early));
    assert.deepEqual([await start(), await start()], [1, 0]);
    assert.deepEqual([...Deno.readDirSync(booted)].map(({ name }) => name), [mark]);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
