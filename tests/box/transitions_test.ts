import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import {
  assertNext,
  type BoxOperation,
  NEXT,
  OPERATIONS,
  stepOf,
} from "../../src/box/transitions.ts";
import { STATUSES } from "../../src/state/box_list.ts";

const SOURCE = new URL("../../src/box/transitions.ts", import.meta.url);

/** The drawing in the module's comment: it says the same once more, for people and for this test. */
const DRAWN = readFileSync(SOURCE, "utf8").split("\n")
  .map((line) => /^ \* {5}([a-z]+) +(.*)$/.exec(line))
  .filter((match) => match !== null)
  .map(([, name = "", cells = ""]) => ({ name, cells: cells.trim().split(/ +/) }));

const PHRASES: Partial<Record<BoxOperation, string>> = {
  exec: "run a command in",
  publish: "change the ports of",
  snapshot: "take a snapshot of",
  restore: "restore a snapshot of",
};

Deno.test("OPERATIONS has every operation, and the drawing shows it", () => {
  assert.deepEqual(DRAWN.map(({ name }) => name).sort(), Object.keys(OPERATIONS).sort());
  for (const { cells } of DRAWN) assert.equal(cells.length, STATUSES.length);
});

for (const { name, cells } of DRAWN) {
  for (const [index, status] of STATUSES.entries()) {
    const drawn = cells[index] ?? "";
    Deno.test(`stepOf takes ${name} of a ${status} box as drawn: ${drawn}`, () => {
      const operation = operationOf(name);
      const box = { config: { name: "web" }, state: { status } };
      const refused = {
        code: operation === "create" ? "name_taken" : "box_state",
        message: operation === "create"
          ? 'Cannot create box "web": the name is taken'
          : `Cannot ${PHRASES[operation] ?? operation} box "web": it is ${status}`,
      };
      switch (drawn) {
        case "·":
          return assert.equal(stepOf(operation, box), "stays");
        case "…":
          return assert.equal(stepOf(operation, box), "waits");
        case "-":
          assert.throws(() => stepOf(operation, box, { force: true }), (error: unknown) => {
            assert.match(String(Reflect.get(Object(error), "hint")), /hutch \w+ web/);
            return true;
          });
          return assert.throws(() => stepOf(operation, box), refused);
        case "force":
          assert.throws(() => stepOf(operation, box), refused);
          return assert.equal(to(stepOf(operation, box, { force: true })), "removed");
        default:
          return assert.equal(to(stepOf(operation, box)), drawn);
      }
    });
  }
}

Deno.test("OPERATIONS leads nowhere that NEXT doesn't lead to", () => {
  for (const [operation, row] of Object.entries(OPERATIONS)) {
    for (const status of STATUSES) {
      const step = row[status];
      if (typeof step === "string" || "refused" in step || step.to === "removed") continue;
      const ways = new Set([status]);
      for (const from of ways) for (const next of NEXT[from]) ways.add(next);
      assert.ok(ways.has(step.to), `${operation}: ${status} to ${step.to}`);
    }
  }
});

for (const from of STATUSES) {
  Deno.test(`assertNext lets a ${from} box stay and go on to ${NEXT[from].join(", ")} alone`, () => {
    for (const to of STATUSES) {
      if (to === from || NEXT[from].includes(to)) assertNext(from, to);
      else assert.throws(() => assertNext(from, to), { message: /can't go from/ });
    }
  });
}

Deno.test("BoxRecords.change has one caller, which asserts that the table leads there", async () => {
  const callers: string[] = [];
  for (const folder of ["box", "runtime", "init", "plugin", "cli"]) {
    const url = new URL(`../../src/${folder}/`, import.meta.url);
    for await (const { name, isFile } of Deno.readDir(url)) {
      const text = isFile ? await Deno.readTextFile(new URL(name, url)) : "";
      if (/records\s*\.change\(/.test(text)) callers.push(`${folder}/${name}`);
    }
  }
  assert.deepEqual(callers, ["box/change.ts"]);
});

function operationOf(name: string): BoxOperation {
  assert.ok(isOperation(name));
  return name;
}

function to(step: ReturnType<typeof stepOf>): string {
  return typeof step === "string" ? step : step.to;
}

function isOperation(name: string): name is BoxOperation {
  return Object.hasOwn(OPERATIONS, name);
}
