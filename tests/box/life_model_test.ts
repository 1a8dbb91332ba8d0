import { Runtime } from "../../mod.ts";
import { playLife } from "../contracts/life_model.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";

/** More, and other, runs than a gate has time for: `LIFE_RUNS=500 LIFE_SEED=7 deno test …`. */
const RUNS = Number(Deno.env.get("LIFE_RUNS") ?? 8);
const SEED = Number(Deno.env.get("LIFE_SEED") ?? 1);

Deno.test("a box's life is what the table of operations says, by two programs, without a machine", async () => {
  await playLife({
    home: makeDoubleHome,
    open: (home) => Runtime.open({ home, plugins: [engineDouble()] }),
    box: DOUBLE_BOX,
    runs: RUNS,
    steps: 12,
    seed: SEED,
  });
});
