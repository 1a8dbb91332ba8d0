import { Runtime } from "../../mod.ts";
import { playLife } from "../contracts/life_model.ts";
import { engineDouble } from "../doubles/engine.ts";

/** More, and other, runs than a gate has time for: `LIFE_RUNS=500 LIFE_SEED=7 deno test …`. */
const RUNS = Number(Deno.env.get("LIFE_RUNS") ?? 12);
const SEED = Number(Deno.env.get("LIFE_SEED") ?? 1);

Deno.test("a box's life is what the table of operations says, by two programs, without a machine", () =>
  playLife({
    home: () => Deno.makeTempDir({ prefix: "hutch-life-" }),
    open: (home) => Runtime.open({ home, plugins: [engineDouble()] }),
    box: { image: "builtin:busybox", memory: 128, disk: 64, engine: "double" },
    runs: RUNS,
    steps: 12,
    seed: SEED,
  }));
