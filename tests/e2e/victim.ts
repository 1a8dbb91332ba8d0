/**
 * A program for the tests that kill it: it uses the home in `HUTCH_HOME` and ends itself by
 * SIGKILL at the moment that its arguments name.
 */
import { definePlugin, Runtime } from "../../mod.ts";

const [what = "", stage = ""] = Deno.args;
const BOX = {
  image: "builtin:busybox",
  memory: 128,
  engine: Deno.env.get("VICTIM_ENGINE") ?? "auto",
};

function die(): never {
  Deno.kill(Deno.pid, "SIGKILL");
  for (;;); // the signal is on its way
}

switch (what) {
  case "start": {
    const plugin = definePlugin({ name: "die", stages: { [stage]: { after: die } } });
    const runtime = await Runtime.open({ plugins: [plugin] });
    await runtime.create(BOX); // never started: it has to go too
    const box = await runtime.create({ ...BOX, name: "kept" });
    await box.start();
    break;
  }
  case "run": {
    const runtime = await Runtime.open();
    const kept = await runtime.create({ ...BOX, name: "kept", restart: "always" });
    const owned = await runtime.create(BOX);
    await Promise.all([kept.start(), owned.start()]);
    await Deno.stdout.write(new TextEncoder().encode("running\n"));
    die();
    break;
  }
  case "pause": {
    const runtime = await Runtime.open();
    const box = await runtime.create({ ...BOX, name: "kept" });
    await box.start();
    await box.pause();
    await Deno.stdout.write(new TextEncoder().encode("paused\n"));
    die();
    break;
  }
  case "exec": {
    const runtime = await Runtime.open();
    const box = await runtime.get(stage);
    const execution = box.exec("sleep", ["7777"]);
    await execution.started;
    await Deno.stdout.write(new TextEncoder().encode("running\n"));
    die();
    break;
  }
  case "keep": {
    const runtime = await Runtime.open();
    const box = await runtime.create({ ...BOX, name: stage, restart: "always", detached: true });
    await box.start();
    await Deno.stdout.write(new TextEncoder().encode("running\n"));
    die();
    break;
  }
  default:
    throw new Error(`unknown: ${what}`);
}
