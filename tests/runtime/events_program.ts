/**
 * A program for the tests of events: in the home in `HUTCH_HOME` it makes boxes of the names in its
 * arguments and removes them. It ends without closing its runtime.
 */
import { Runtime } from "../../mod.ts";

const runtime = await Runtime.open();
for (const name of Deno.args) {
  const box = await runtime.create({ image: "builtin:busybox", name });
  await box.remove();
}
Deno.exit(0);
