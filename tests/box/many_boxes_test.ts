import { Runtime } from "../../mod.ts";
import { makeMany } from "../contracts/many_boxes.ts";
import { engineDouble } from "../doubles/engine.ts";
import { TempFolder } from "../support/temp.ts";

/** The soak makes 200. */
const COUNT = Number(Deno.env.get("MANY_BOXES") ?? 40);

Deno.test(`Box.remove leaves nothing of ${COUNT} boxes, without a machine`, async () => {
  await using home = new TempFolder();
  await makeMany({
    home: home.path,
    open: () => Runtime.open({ home: home.path, plugins: [engineDouble({ overlay: true })] }),
    box: { image: "builtin:busybox", memory: 128, disk: 64, engine: "double" },
    count: COUNT,
    atOnce: 4,
  });
});
