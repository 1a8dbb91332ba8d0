import assert from "node:assert/strict";
import { makeDoubleHome } from "../doubles/home.ts";
import { STAGES } from "./box.ts";
import { checkHome, type Life, playUntil } from "./life.ts";
import { TempFolder } from "../support/temp.ts";

/** One in so many points is tried; `CRASH_EVERY=1` tries all, `CRASH_SEED` names other ones. */
const EVERY = Number(Deno.env.get("CRASH_EVERY") ?? 42);
const SEED = Number(Deno.env.get("CRASH_SEED") ?? 1);
/** Tried always: the files are gone and the record isn't. */
const ALWAYS = /^remove: (?:after rename boxes\/BOX\.removed|before DELETE FROM boxes)$/;
/** Tried always too, by itself. */
const BOUNDARY = /^start: (before|after) stage (\w+)$/;
/** Programs that die at once. */
const AT_ONCE = 2;

for (const life of ["named", "owned"] satisfies Life[]) {
  Deno.test(`kill -9 of the program at any write to state leaves the home true: ${life} box`, async () => {
    const points = await pointsOf(life);
    const chosen = points.map((point, index) => ({ point, index }))
      .filter(({ point, index }) => (index + SEED) % EVERY === 0 || ALWAYS.test(point))
      .map(({ point, index }) => ({
        point,
        // The next program comes at once, or when what was left has ended.
        settle: ALWAYS.test(point) || Math.floor((index + SEED) / EVERY) % 2 === 0,
      }));
    await playEach(life, chosen);
  });
}

Deno.test("kill -9 of the program before and after each stage of a start leaves the home true", async () => {
  const points = (await pointsOf("named")).filter((point) => BOUNDARY.test(point));
  const wanted = STAGES.flatMap((stage) =>
    ["before", "after"].map((side) => `start: ${side} stage ${stage}`)
  );
  assert.deepEqual(points.toSorted(), wanted.toSorted());
  await playEach("named", points.map((point) => ({ point, settle: true })));
});

interface Play {
  readonly point: string;
  /** See {@link checkHome}. */
  readonly settle: boolean;
}

/** Plays a life up to each of the points, a few at once, and tells all failures. */
async function playEach(life: Life, plays: readonly Play[]): Promise<void> {
  const left = [...plays];
  const failures: string[] = [];
  const next = async () => {
    for (let one = left.shift(); one; one = left.shift()) {
      const told = `${one.point}${one.settle ? "" : ", the next program at once"}`;
      await playAndCheck(life, one.point, one.settle).catch((error: unknown) => {
        failures.push(`${told}: ${error instanceof Error ? error.stack : error}`);
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
  if (failures.length > 0) throw new Error(failures.join("\n\n"));
}

async function pointsOf(life: Life): Promise<readonly string[]> {
  await using home = new TempFolder();
  const { passed } = await playUntil(home.path, life);
  await checkHome(home.path, true);
  return passed;
}

async function playAndCheck(life: Life, point: string, settle: boolean): Promise<void> {
  // Before a box is recorded its image comes; afterwards that is no part of what is cut short.
  const home = /^(?:open|create): /.test(point)
    ? await Deno.makeTempDir({ prefix: "hutch-life-" })
    : await makeDoubleHome();
  try {
    const { died } = await playUntil(home, life, point);
    assert.ok(died || !BOUNDARY.test(point), "it didn't get there");
    await checkHome(home, settle);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}
