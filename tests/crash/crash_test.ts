import { checkHome, type Life, playUntil } from "./life.ts";
import { TempFolder } from "../support/temp.ts";

/** One in so many points is tried; `CRASH_EVERY=1` tries all, `CRASH_SEED` names other ones. */
const EVERY = Number(Deno.env.get("CRASH_EVERY") ?? 16);
const SEED = Number(Deno.env.get("CRASH_SEED") ?? 1);
/** Tried always: the files are gone and the record isn't. */
const ALWAYS = /^remove: (?:after rename boxes\/BOX\.removed|before DELETE FROM boxes)$/;
/** Programs that die at once. */
const AT_ONCE = 2;

for (const life of ["named", "owned"] satisfies Life[]) {
  Deno.test(`kill -9 of the program at any write to state leaves the home true: ${life} box`, async () => {
    const points = await pointsOf(life);
    const chosen = points.map((point, index) => ({ point, index }))
      .filter(({ point, index }) => (index + SEED) % EVERY === 0 || ALWAYS.test(point));
    const failures: string[] = [];
    const next = async () => {
      for (let one = chosen.shift(); one; one = chosen.shift()) {
        // The next program comes at once, or when what was left has ended.
        const settle = ALWAYS.test(one.point) || Math.floor((one.index + SEED) / EVERY) % 2 === 0;
        const told = `${one.point}${settle ? "" : ", the next program at once"}`;
        await playAndCheck(life, one.point, settle).catch((error: unknown) => {
          failures.push(`${told}: ${error instanceof Error ? error.stack : error}`);
        });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, next));
    if (failures.length > 0) throw new Error(failures.join("\n\n"));
  });
}

async function pointsOf(life: Life): Promise<readonly string[]> {
  await using home = new TempFolder();
  const { passed } = await playUntil(home.path, life);
  await checkHome(home.path, true);
  return passed;
}

async function playAndCheck(life: Life, point: string, settle: boolean): Promise<void> {
  await using home = new TempFolder();
  await playUntil(home.path, life, point);
  await checkHome(home.path, settle);
}
