import assert from "node:assert/strict";
import { Runtime } from "../../mod.ts";
import { main } from "../../src/cli/main.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { memoryIo } from "./helpers.ts";

async function unpublish(home: string, spec: string): Promise<string> {
  const io = memoryIo();
  assert.equal(await main(["--home", home, "unpublish", "srv", spec], io), 125, spec);
  return io.stderr.text;
}

Deno.test("hutch unpublish names what was typed where no such port is there, and says how to", async () => {
  const home = await makeDoubleHome();
  try {
    await using runtime = await Runtime.open({ home, plugins: [engineDouble()] });
    await using box = await runtime.create({ ...DOUBLE_BOX, name: "srv", network: "nat" });
    await box.start();
    for (
      const [spec, told] of [
        [
          "18081",
          `"18081" of box "srv": its port 18081/tcp isn't published at 127.0.0.1; no port is; a lone number is the box's port`,
        ],
        [
          "18081:80",
          `"18081:80" of box "srv": its port 80/tcp isn't published at 127.0.0.1:18081; no port is`,
        ],
        [
          "[::1]:1:53/udp",
          `"[::1]:1:53/udp" of box "srv": its port 53/udp isn't published at [::1]:1; no port is`,
        ],
      ] as const
    ) assert.equal(await unpublish(home, spec), `hutch: Cannot unpublish ${told}\n`);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("hutch unpublish says that it can't unpublish what is no port, and how ports are written", async () => {
  const home = await makeDoubleHome();
  try {
    await using runtime = await Runtime.open({ home, plugins: [engineDouble()] });
    await using box = await runtime.create({ ...DOUBLE_BOX, name: "srv" });
    assert.equal(box.name, "srv");
    assert.equal(
      await unpublish(home, "127.0.0.1:18080"),
      `hutch: Cannot unpublish "127.0.0.1:18080": "127.0.0.1" is no port from 0 to 65535, nor a ` +
        "range of some; write [HOSTIP:][HOSTPORT:]GUESTPORT[/tcp|udp]; " +
        "a lone number is the box's port\n",
    );
    assert.match(await unpublish(home, "::1:80:80"), /^hutch: Cannot unpublish .*in brackets/);
    await assert.rejects(box.publish("127.0.0.1:18080"), { message: /^Cannot publish "127/ });
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
