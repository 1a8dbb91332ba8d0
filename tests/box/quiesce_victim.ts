/** Lets a detached box stand still until it is killed; its arguments are the options of the box. */
import { Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";

const options: { readonly image: string; readonly name: string; readonly engine: string } = JSON
  .parse(Deno.args[0] ?? "");
// The double's boxes have no disks of images: no box of a real engine gets by with that.
const plugins = options.engine === "double" ? [engineDouble({ overlay: true })] : [];
await using runtime = await Runtime.open({ plugins });
const box = await runtime.create({ ...options, detached: true });
await box.start();
setInterval(() => {}, 1000);
await box.quiesce(() => {
  console.log("still");
  return new Promise(() => {});
});
