import assert from "node:assert/strict";
import { join } from "node:path";
import { hutch, RUN, TEST_ENGINE, withHome } from "./support.ts";

Deno.test(`hutch --plugin changes what a command gets, and can refuse it, on ${TEST_ENGINE}`, () =>
  withHome(async (home) => {
    const plugin = join(home, "plugin.ts");
    await Deno.writeTextFile(
      plugin,
      `export default {
        name: "greeter",
        operations: {
          exec: {
            before({ command, args, options }: { command: string; args: string[]; options: { env?: object } }) {
              if (args.includes("forbidden")) throw new Error("that word is forbidden");
              return { command, args, options: { ...options, env: { ...options.env, GREETING: "hello" } } };
            },
          },
        },
      };`,
    );
    const given = [
      ...["--plugin", plugin, "run", "--rm", "--name", "one", ...RUN],
      ...["builtin:busybox", "sh", "-c"],
    ];
    const greeted = await hutch(home, [...given, 'echo "$GREETING"']);
    assert.deepEqual([greeted.stdout, greeted.stderr, greeted.code], ["hello\n", "", 0]);
    const refused = await hutch(home, [...given, "true", "forbidden"]);
    assert.equal(refused.code, 125);
    assert.equal(
      refused.stderr,
      'hutch: Plugin "greeter" failed in "exec.before" for box "one": that word is forbidden\n',
    );
  }));
