import assert from "node:assert/strict";
import { openDatabase } from "../../src/state/database.ts";
import { DetachedCommands } from "../../src/state/detached.ts";

const AT = "2026-01-02T03:04:05.678Z";

Deno.test("DetachedCommands gives each command to the first who tells its end", () => {
  const database = openDatabase(":memory:");
  try {
    for (const id of ["a", "b"]) {
      database.prepare("INSERT INTO boxes VALUES (?, ?, '', '', 0, '{}')").run(id, id);
    }
    const commands = new DetachedCommands(database);
    const first = { execution: "1", command: ["sleep", "1"], startedAt: AT };
    commands.begin("a", first);
    commands.begin("a", {
      ...first,
      execution: "2",
      command: ["x".repeat(10_000), ..."y".repeat(99)],
    });
    commands.begin("b", { ...first, execution: "3" });
    assert.deepEqual(commands.of("a").map(({ execution }) => execution), ["1", "2"]);
    assert.deepEqual(commands.end("1"), first);
    assert.equal(commands.end("1"), undefined);
    assert.ok(JSON.stringify(commands.end("2")).length < 10_000);
    assert.throws(() => commands.begin("none", first));
    database.prepare("DELETE FROM boxes WHERE id = 'b'").run();
    assert.equal(commands.end("3"), undefined, "it goes with its box");
  } finally {
    database.close();
  }
});
