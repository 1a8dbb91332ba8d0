/**
 * Programs that die by SIGKILL at the points of {@link CrashPoints}, and what they leave.
 *
 * @module
 */
import assert from "node:assert/strict";
import { makeDoubleHome } from "../doubles/home.ts";

/** Times that a point is looked for among those behind it. */
const TRIES = 5;
const SEED = Number(Deno.env.get("CRASH_SEED") ?? 1);

/** What {@link diesAtPoints} does. */
export interface DiesAtPoints {
  /** The program; its argument is the point, without one it prints all. */
  readonly victim: string;
  /** Makes the home of one. @default {one that has an image alone} */
  readonly makeHome?: () => Promise<string>;
  /** One in so many points is tried; `CRASH_EVERY=1` tries all, `CRASH_SEED` names other ones. */
  readonly every: number;
  /** Which points count, by the names of their deeds. */
  readonly counts: (deed: string) => boolean;
  /** Looks at what is left, and cleans up. */
  readonly check: (home: string, deed: string) => Promise<void>;
}

/** Has programs die, each in a home of its own, and checks what they leave. */
export async function diesAtPoints(
  { victim, makeHome = makeDoubleHome, every, counts, check }: DiesAtPoints,
): Promise<void> {
  const whole = await makeHome();
  const passed = await play(victim, whole)
    .finally(() => Deno.remove(whole, { recursive: true }));
  const tried = passed.filter((point) => counts(deedOf(point)));
  const failures: string[] = [];
  let [chosen, died] = [0, 0];
  for (let index = every - 1 - SEED % every; index < tried.length; index += every) {
    chosen += 1;
    // The background may take a turn more or less this time: then the next point is as good.
    for (const point of tried.slice(index, index + TRIES)) {
      const home = await makeHome();
      try {
        if ((await play(victim, home, point)).length > 0) continue;
        died += 1;
        await check(home, deedOf(point));
      } catch (error) {
        failures.push(`${point}: ${error instanceof Error ? error.stack : error}`);
      } finally {
        await Deno.remove(home, { recursive: true });
      }
      break;
    }
  }
  assert.deepEqual(failures, []);
  assert.ok(died > 0 && died > 0.7 * chosen, `${died} of ${chosen}`);
}

function deedOf(point: string): string {
  return point.slice(0, point.indexOf(":"));
}

async function play(victim: string, home: string, at?: string): Promise<readonly string[]> {
  const { code, signal, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", victim, ...at === undefined ? [] : [at]],
    env: { HUTCH_HOME: home },
  }).output();
  if (signal === "SIGKILL" && at !== undefined) return [];
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}
