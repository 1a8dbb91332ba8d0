/** Starts a box with 96 MiB on QEMU until it is killed. */
import { Runtime } from "../../mod.ts";

await using runtime = await Runtime.open();
await using box = await runtime.create({ image: "builtin:busybox", engine: "qemu", memory: 96 });
await box.exec("true");
