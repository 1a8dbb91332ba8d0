import assert from "node:assert/strict";
import { assertShapes, type Printed } from "../support/json_shapes.ts";
import { hutch, RUN, TEST_ENGINE, withHome } from "./support.ts";

Deno.test({
  name: "commands about boxes that run print what JsonOutput says",
  ignore: TEST_ENGINE !== "qemu", // nothing in it depends on the engine
  fn: () =>
    withHome(async (home) => {
      const printed: Printed[] = [];
      const json = async (name: string, ...args: string[]) => {
        const { code, stdout, stderr } = await hutch(home, args);
        assert.deepEqual([code, stderr], [0, ""], args.join(" "));
        assert.notEqual(stdout, "");
        printed.push({ name, text: stdout });
        return stdout;
      };
      const main = ["sh", "-c", "echo ready; while [ ! -e /end ]; do sleep 0.1; done; exit 3"];
      await hutch(home, ["run", "-d", "--name", "web", ...RUN, "builtin:busybox", ...main]);
      await json("publish", "publish", "--json", "web", "80", "127.0.0.1::53/udp");
      await json("executions", "executions", "--json", "web");
      await json("inspect", "inspect", "web");
      await json("stats", "stats", "--json", "web");
      const waiting = json("wait (line)", "wait", "--json", "web");
      await hutch(home, ["exec", "web", "touch", "/end"]);
      const { exitCode, status } = JSON.parse(await waiting);
      assert.deepEqual([exitCode, status], [3, "stopped"]);
      await json("logs (line)", "logs", "--json", "web");
      await json("events (line)", "events", "--no-follow", "--json");
      await json("ls", "ls", "-a", "--json");
      await assertShapes(printed);
    }),
});
