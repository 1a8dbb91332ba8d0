import { Runtime } from "../../mod.ts";
import { playLife } from "../contracts/life_model.ts";
import { BOX, makeHome, TEST_ENGINE } from "./support.ts";

Deno.test(`a box's life is what the table of operations says on ${TEST_ENGINE}`, () =>
  playLife({
    home: makeHome,
    open: (home) => Runtime.open({ home }),
    box: BOX,
    runs: 2,
    steps: 8,
    seed: 3,
  }));
