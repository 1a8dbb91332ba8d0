import assert from "node:assert/strict";
import { exitCodeOf, type LimitFlags, limitOptionsOf } from "../../src/cli/exec_flags.ts";
import { main } from "../../src/cli/main.ts";
import { HutchError } from "../../src/errors.ts";
import { memoryIo } from "./helpers.ts";

Deno.test("limitOptionsOf reads limits as Docker writes them", () => {
  assert.deepEqual(limitOptionsOf({}), {});
  assert.deepEqual(
    limitOptionsOf({
      timeout: 1500,
      killAfter: 0,
      ulimit: ["nofile=1024:2048", "core=0", "memlock=-1", "cpu=1:unlimited", "core=5"],
      capAdd: ["net_admin", "CAP_BPF"],
      capDrop: ["all"],
      securityOpt: ["no-new-privileges"],
    }),
    {
      timeoutMs: 1500,
      killAfterMs: 0,
      rlimits: {
        nofile: { soft: 1024, hard: 2048 },
        core: { soft: 5, hard: 5 },
        memlock: { soft: "unlimited", hard: "unlimited" },
        cpu: { soft: 1, hard: "unlimited" },
      },
      capabilities: { add: ["NET_ADMIN", "BPF"], drop: ["ALL"] },
      noNewPrivileges: true,
    },
  );
  assert.deepEqual(limitOptionsOf({ securityOpt: ["no-new-privileges=true"] }), {
    noNewPrivileges: true,
  });
  assert.deepEqual(
    limitOptionsOf({ securityOpt: ["no-new-privileges", "no-new-privileges:false"] }),
    {},
  );
});

const refused: readonly (readonly [LimitFlags, RegExp])[] = [
  [{ ulimit: ["nofile"] }, /--ulimit: "nofile" is not NAME=SOFT/],
  [{ ulimit: ["nofiel=1"] }, /"nofiel" is not one of .*\(did you mean nofile\?\)/],
  [{ ulimit: ["nofile=many"] }, /many is not a whole number/],
  [{ ulimit: ["nofile=1:2:3"] }, /is not NAME=SOFT/],
  [{ ulimit: ["nofile=-2"] }, /-2 is not a whole number/],
  [{ capAdd: ["NET_ADMON"] }, /--cap-add.*did you mean NET_ADMIN/],
  [{ capDrop: [""] }, /--cap-drop/],
  [{ securityOpt: ["seccomp=unconfined"] }, /--security-opt: "seccomp"/],
  [{ securityOpt: ["no-new-privileges=maybe"] }, /"maybe" is not one of true, false/],
  [{ killAfter: 5 }, /there is no --timeout/],
];

Deno.test("limitOptionsOf refuses what it can't read, by name", () => {
  for (const [flags, message] of refused) {
    assert.throws(
      () => limitOptionsOf(flags),
      (error) =>
        error instanceof HutchError && error.code === "invalid_option" &&
        message.test(`${error.message} (${error.hint})`),
      String(message),
    );
  }
});

Deno.test("exitCodeOf gives 124 for a command whose time was over, and says so", async () => {
  const io = memoryIo();
  const status = { success: false, code: 143, signal: "SIGTERM", timedOut: true };
  assert.equal(await exitCodeOf(status, { timeout: 1500 }, io), 124);
  assert.equal(io.stderr.text, "hutch: The command was ended: it took longer than 1.5 s\n");
  assert.equal(await exitCodeOf({ ...status, timedOut: false }, {}, io), 143);
});

Deno.test("hutch run refuses a time limit that nobody would tell of", async () => {
  const io = memoryIo();
  assert.equal(await main(["run", "-d", "--timeout", "5", "builtin:busybox"], io), 125);
  assert.match(io.stderr.text, /Cannot use --timeout with --detach/);
});
