/** Keeps a box's memory until it is killed; its arguments are the box's name and the snapshot's. */
import { Runtime } from "../../mod.ts";

const [name = "", snapshot = ""] = Deno.args;
await using runtime = await Runtime.open();
const box = await runtime.get(name);
await box.snapshots.create(snapshot, { memory: true });
