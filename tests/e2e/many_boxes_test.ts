import { Runtime } from "../../mod.ts";
import { makeMany } from "../contracts/many_boxes.ts";
import { BOX, TEST_ENGINE, withHome } from "./support.ts";

/** One of each kind. */
const COUNT = 5;

Deno.test(`Box.remove leaves nothing of ${COUNT} boxes on ${TEST_ENGINE}`, () =>
  withHome((home) =>
    makeMany({ home, open: () => Runtime.open({ home }), box: BOX, count: COUNT, atOnce: 2 })
  ));
