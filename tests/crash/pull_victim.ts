/**
 * A program that pulls an image, makes its base disk, gives it another name and removes it again:
 * `pull_victim.ts HOME REFERENCE [POINT]`. It ends itself by SIGKILL at the
 * {@link CrashPoints | point}; without one it prints all points.
 *
 * @module
 */
import { join } from "node:path";
import { CrashPoints } from "./points.ts";

const [home = "", reference = "", at] = Deno.args;
const points = new CrashPoints({ at, folders: [home] });
points.wrapFiles();
points.wrapContents();
points.wrapState();
// After the wrapping: what they take from Deno is wrapped by then.
const { buildBaseDisk } = await import("../../src/images/base_disk/unpack.ts");
const { openDatabase } = await import("../../src/state/database.ts");
const { ImageTable } = await import("../../src/state/images.ts");
const { imageManager, imageStore } = await import("../support/image_store.ts");
await import("../support/native.ts");

points.deed("open");
const database = openDatabase(join(home, "state.db"));
const ledger = new ImageTable(database);
const store = imageStore(home, { records: ledger, build: buildBaseDisk });
const manager = imageManager(home, store, ledger);
console.log("began");
points.deed("pull");
const { digest } = await store.pull(reference);
points.deed("disk");
await store.baseDisk(digest);
points.deed("tag");
await manager.tag(reference, `${reference}-again`);
points.deed("remove");
await manager.remove(reference);
points.deed("prune");
await manager.prune({ all: true });
database.close();
console.log(JSON.stringify(points.passed));
