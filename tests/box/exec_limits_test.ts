import assert from "node:assert/strict";
import { checkCommand } from "../../src/box/exec_check.ts";
import { capabilitiesOf, type Rlimits, rlimitsOf } from "../../src/box/exec_limits.ts";
import type { ExecOptions } from "../../src/box/exec_options.ts";
import { HutchError } from "../../src/errors.ts";

Deno.test("rlimitsOf gives soft and hard limits by name", () => {
  assert.deepEqual(rlimitsOf({ nofile: 64, core: "unlimited", cpu: { soft: 1, hard: 2 } }), {
    nofile: [64, 64],
    core: [null, null],
    cpu: [1, 2],
  });
  assert.deepEqual(rlimitsOf({ as: { soft: 0, hard: "unlimited" } }), { as: [0, null] });
  assert.deepEqual(rlimitsOf({}), {});
});

const ALL = 2 ** 41 - 1;

Deno.test("capabilitiesOf says what is kept and what is given", () => {
  const cases: readonly (readonly [Parameters<typeof capabilitiesOf>[0], number, number])[] = [
    [{}, ALL, 0],
    [{ drop: ["ALL"] }, 0, 0],
    [{ add: ["ALL"] }, ALL, ALL],
    [{ drop: ["CHOWN", "CAP_CHECKPOINT_RESTORE"] }, 2 ** 40 - 2, 0],
    [{ add: ["NET_ADMIN"] }, ALL, 2 ** 12],
    [{ add: ["BPF"], drop: ["ALL"] }, 2 ** 39, 2 ** 39],
    [{ add: ["ALL"], drop: ["CHOWN"] }, ALL - 1, ALL - 1],
    [{ add: ["KILL", "CAP_KILL"], drop: ["ALL"] }, 2 ** 5, 2 ** 5],
  ];
  for (const [changes, capKeep, capGive] of cases) {
    assert.deepEqual(capabilitiesOf(changes), { capKeep, capGive }, JSON.stringify(changes));
  }
});

/** Options that no compiler has seen, as from a plain JavaScript program. */
function unchecked(json: string): ExecOptions {
  return JSON.parse(json);
}

const refused: readonly (readonly [ExecOptions, RegExp])[] = [
  [unchecked('{"rlimits":{"files":1}}'), /limit "files".*none of this name/],
  [unchecked('{"rlimits":{"__proto__":1}}'), /limit "__proto__"/],
  [unchecked('{"rlimits":{"nofile":null}}'), /limit nofile of null/],
  [unchecked('{"rlimits":{"nofile":"64"}}'), /limit nofile of 64/],
  [unchecked('{"rlimits":{"nofile":{"soft":1}}}'), /limit nofile of undefined/],
  [{ rlimits: { nofile: -1 } }, /limit nofile of -1/],
  [{ rlimits: { nofile: 1.5 } }, /limit nofile of 1.5/],
  [{ rlimits: { nofile: NaN } }, /limit nofile of NaN/],
  [{ rlimits: { nofile: 2 ** 53 } }, /limit nofile/],
  [{ rlimits: { cpu: { soft: 2, hard: 1 } } }, /limit cpu of 2: it is over its hard limit 1/],
  [{ rlimits: { cpu: { soft: "unlimited", hard: 1 } } }, /limit cpu of unlimited/],
  [unchecked('{"capabilities":{"add":["FLY"]}}'), /capability "FLY".*none of this name/],
  [unchecked('{"capabilities":{"add":[7]}}'), /capability 7/],
  [{ capabilities: { add: ["KILL"], drop: ["CAP_KILL"] } }, /capability KILL.*both/],
  [{ capabilities: { add: ["ALL"], drop: ["ALL"] } }, /ALL is both/],
  [{ timeoutMs: 0 }, /timeoutMs of 0 ms/],
  [{ timeoutMs: -5 }, /timeoutMs of -5 ms/],
  [{ timeoutMs: NaN }, /timeoutMs of NaN ms/],
  [{ timeoutMs: 2 ** 31 }, /timeoutMs of 2147483648 ms/],
  [{ killAfterMs: -1 }, /killAfterMs of -1 ms/],
  [{ killAfterMs: 86_400_001 }, /killAfterMs/],
  [{ env: { "A=B": "1" } }, /variable "A=B"/],
  [{ env: { A: "\0" } }, /variable "A"/],
  [{ cwd: "tmp" }, /Cannot work in "tmp"/],
  [{ user: "a\0b" }, /user with a NUL/],
];

Deno.test("checkCommand refuses what can't be asked for, by name", () => {
  for (const [options, message] of refused) {
    assert.throws(
      () => checkCommand({ command: "true", args: [], options }),
      (error) =>
        error instanceof HutchError && error.code === "invalid_option" &&
        message.test(error.message),
      String(message),
    );
  }
  const nul = (command: string, args: string[]) => () =>
    checkCommand({ command, args, options: {} });
  assert.throws(nul("a\0", []), /a program with a NUL/);
  assert.throws(nul("a", ["b", "\0"]), /argument 2 with a NUL/);
});

Deno.test("checkCommand takes what can be asked for, up to the limits", () => {
  const every: Rlimits = {
    ...{ as: 1, core: 0, cpu: 1, data: 1, fsize: 1, locks: 1, memlock: 1, msgqueue: 1, nice: 1 },
    ...{ nofile: 2 ** 53 - 1, nproc: 1, rss: 1, rtprio: 1, rttime: 1, sigpending: 1, stack: 1 },
  };
  assert.equal(Object.keys(rlimitsOf(every)).length, 16);
  const options = { timeoutMs: 0.5 + 1, killAfterMs: 0, rlimits: every, noNewPrivileges: true };
  checkCommand({ command: "true", args: ["", "é\n"], options });
  checkCommand({ command: "x", args: [], options: { timeoutMs: 2 ** 31 - 1, killAfterMs: 864e5 } });
});
