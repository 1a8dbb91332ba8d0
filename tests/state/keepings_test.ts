import assert from "node:assert/strict";
import { openDatabase } from "../../src/state/database.ts";
import { Keepings, NO_KEEPING } from "../../src/state/keepings.ts";

function withKeepings(run: (keepings: Keepings, remove: (id: string) => void) => void): void {
  const database = openDatabase(":memory:");
  try {
    for (const id of ["a", "b"]) {
      database.prepare("INSERT INTO boxes VALUES (?, ?, '', '', 0, '{}')").run(id, id);
    }
    run(
      new Keepings(database),
      (id) => void database.prepare("DELETE FROM boxes WHERE id = ?").run(id),
    );
  } finally {
    database.close();
  }
}

const BEGUN = { detached: true, health: "starting", plugins: ["file:///p.ts"] } as const;

Deno.test("Keepings knows what was begun, and nothing of other boxes", () =>
  withKeepings((keepings) => {
    keepings.begin("a", BEGUN);
    assert.deepEqual(keepings.of("a"), { ...NO_KEEPING, ...BEGUN, kept: true });
    assert.deepEqual(keepings.of("b"), NO_KEEPING);
    keepings.remove("a");
    assert.deepEqual(keepings.of("a"), NO_KEEPING);
    keepings.begin("a", BEGUN);
    assert.deepEqual([...keepings.all().keys()], ["a"]);
  }));

Deno.test("Keepings counts restarts until somebody starts the box anew", () =>
  withKeepings((keepings) => {
    keepings.begin("a", BEGUN);
    keepings.change("a", { health: "unhealthy" });
    keepings.restarting("a", 1);
    keepings.restarting("a", 2);
    keepings.restarting("a", 1);
    const { restarts, row, restartedAt, health } = keepings.of("a");
    assert.deepEqual([restarts, row, health], [3, 1, "starting"]);
    assert.ok(Date.parse(restartedAt ?? "") > 0);
    keepings.begin("a", { ...BEGUN, health: "none" });
    assert.deepEqual([keepings.of("a").restarts, keepings.of("a").restartedAt], [0, null]);
    keepings.restarting("a", 1);
    assert.equal(keepings.of("a").health, "none", "a box without checks has no health");
  }));

Deno.test("Keepings gives the boxes that want a keeper of their own", () =>
  withKeepings((keepings) => {
    keepings.begin("a", BEGUN);
    keepings.begin("b", { ...BEGUN, detached: false });
    assert.deepEqual(keepings.wanting(), ["a"]);
    keepings.change("b", { detached: true });
    assert.deepEqual(keepings.wanting(), ["a", "b"]);
    keepings.change("a", { kept: false });
    assert.deepEqual(keepings.wanting(), ["b"]);
    assert.equal(keepings.of("a").detached, true, "what isn't named stays");
  }));

Deno.test("Keepings go with their boxes, and none is made for a box that is gone", () =>
  withKeepings((keepings, remove) => {
    keepings.begin("a", BEGUN);
    remove("a");
    keepings.begin("a", BEGUN);
    keepings.restarting("a", 1);
    keepings.change("a", { kept: true });
    assert.deepEqual([...keepings.all()], []);
  }));
