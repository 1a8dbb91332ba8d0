import assert from "node:assert/strict";
import { capabilitiesOf } from "../../src/box/exec_limits.ts";
import { encodeCbor } from "../../src/deps.ts";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";
import { NativeAgent } from "./native.ts";

const cc = needs("cc");
const root = Deno.uid() === 0;

function agentTest(name: string, body: (agent: NativeAgent) => Promise<void>, ignore = false) {
  const options = { ignore: cc.ignore || ignore };
  Deno.test(`the agent ${name}${cc.note}`, options, async () => {
    await using agent = await NativeAgent.start();
    await body(agent);
  });
}

const LIMITS = "cut -c1-25,26-70 /proc/self/limits";
/** What /proc calls each limit. */
const names: Readonly<Record<string, string>> = {
  as: "Max address space",
  core: "Max core file size",
  cpu: "Max cpu time",
  data: "Max data size",
  fsize: "Max file size",
  locks: "Max file locks",
  memlock: "Max locked memory",
  msgqueue: "Max msgqueue size",
  nice: "Max nice priority",
  nofile: "Max open files",
  nproc: "Max processes",
  rss: "Max resident set",
  rtprio: "Max realtime priority",
  rttime: "Max realtime timeout",
  sigpending: "Max pending signals",
  stack: "Max stack size",
};

agentTest("sets all sixteen limits", async ({ peer }) => {
  // No larger than what this process has: the agent may lack the right to raise them.
  const now = limitsIn(await Deno.readTextFile("/proc/self/limits"));
  const asked = new Map<string, [number | null, number | null]>();
  let least = 2 ** 33; // a command needs some of each, and each is to differ
  for (const [key, title] of Object.entries(names)) {
    const [, hard = "0"] = now.get(title) ?? [];
    const most = hard === "unlimited" ? Infinity : Number(hard);
    const value = Math.min(most, least++);
    asked.set(key, [key === "nofile" ? Math.min(most, 77) : value, value]);
  }
  const { stdout, error } = await peer.shell(LIMITS, {
    more: { rlimits: Object.fromEntries(asked) },
  });
  assert.equal(error, undefined);
  const got = limitsIn(stdout);
  assert.equal(asked.size, 16);
  for (const [key, values] of asked) {
    assert.deepEqual(got.get(names[key] ?? ""), values.map(String), key);
  }
});

agentTest("takes null for unlimited, and keeps what isn't named", async ({ peer }) => {
  const { stdout } = await peer.shell(LIMITS, { more: { rlimits: { core: [0, null] } } });
  const unlimited = limitsIn(await Deno.readTextFile("/proc/self/limits")).get(names.core ?? "");
  const got = limitsIn(stdout);
  if (unlimited?.[1] === "unlimited") {
    assert.deepEqual(got.get("Max core file size")?.[1], "unlimited");
  }
  assert.equal(got.get("Max core file size")?.[0], "0");
  assert.equal(got.get("Max open files")?.[0], "1024");
});

agentTest("says when the kernel refuses a limit", async ({ peer }) => {
  const { error, order } = await peer.exec(["true"], {
    more: { rlimits: { nofile: [2 ** 40, 2 ** 40] } },
  }).outcome();
  assert.partialDeepStrictEqual(error, { kind: "limit_refused", errno: 1 });
  assert.match(JSON.stringify(error), /limit nofile to 1099511627776, at most 1099511627776/);
  assert.deepEqual(order, ["ERROR", "CLOSE"]);
});

const bad: readonly (readonly [string, Readonly<Record<string, unknown>>])[] = [
  ["limits that are a list", { rlimits: [] }],
  ["an unknown limit", { rlimits: { nofiles: [1, 1] } }],
  ["an empty name", { rlimits: { "": [1, 1] } }],
  ["one number", { rlimits: { nofile: 1 } }],
  ["three numbers", { rlimits: { nofile: [1, 1, 1] } }],
  ["a negative limit", { rlimits: { nofile: [-1, 1] } }],
  ["a fraction", { rlimits: { nofile: [1.5, 2] } }],
  ["a text", { rlimits: { nofile: ["1", "1"] } }],
  ["soft over hard", { rlimits: { nofile: [2, 1] } }],
  ["unlimited over hard", { rlimits: { nofile: [null, 1] } }],
  ["more than sixteen", { rlimits: Object.fromEntries(range(17).map((n) => [`x${n}`, [1, 1]])) }],
  ["more capabilities given than kept", { capKeep: 1, capGive: 3 }],
  ["capabilities given alone", { capGive: 1 }],
  ["negative capabilities", { capKeep: -1 }],
  ["capabilities by name", { capKeep: ["KILL"] }],
  ["noNewPrivileges that is a number", { noNewPrivileges: 1 }],
  ["no time at all", { timeoutMs: 0, graceMs: 0 }],
  ["a time without a grace", { timeoutMs: 5 }],
  ["too long a time", { timeoutMs: 2 ** 31, graceMs: 0 }],
  ["too long a grace", { timeoutMs: 5, graceMs: 86_400_001 }],
  ["a time that is a text", { timeoutMs: "5", graceMs: 0 }],
];

agentTest("refuses limits that are malformed", async ({ peer }) => {
  for (const [name, more] of bad) {
    const { error, order } = await peer.exec(["true"], { more }).outcome();
    assert.partialDeepStrictEqual(error, { kind: "bad_request" }, name);
    assert.deepEqual(order, ["ERROR", "CLOSE"], name);
  }
  const plain = encodeCbor({ op: "exec", argv: ["true"], env: [], cwd: "/", user: "0" });
  const twice = new Uint8Array([
    ...[0xa7, ...plain.subarray(1)],
    ...encodeCbor({ stdin: false }).subarray(1),
    ...encodeCbor({ rlimits: 0 }).subarray(1, -1),
    ...[
      0xa2,
      ...encodeCbor({ cpu: [1, 1] }).subarray(1),
      ...encodeCbor({ cpu: [1, 1] }).subarray(1),
    ],
  ]);
  assert.match(JSON.stringify((await peer.open(twice).outcome()).error), /bad_request.*rlimits/);
});

const CAPS = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status";

agentTest("bounds what root may have", async ({ peer }) => {
  const { capKeep } = capabilitiesOf({ drop: ["ALL"], add: ["KILL", "CAP_CHOWN"] });
  const few = await peer.shell(CAPS, { more: { capKeep } });
  const none = "0000000000000000", two = "0000000000000021";
  assert.deepEqual(few.error, undefined);
  assert.deepEqual(statusOf(few.stdout), {
    ...{ CapInh: none, CapPrm: two, CapEff: two, CapBnd: two, CapAmb: none },
    NoNewPrivs: "0",
  });
  const zero = await peer.shell(CAPS, { more: { capKeep: 0, capGive: 0 } });
  assert.deepEqual(statusOf(zero.stdout), {
    ...{ CapInh: none, CapPrm: none, CapEff: none, CapBnd: none, CapAmb: none },
    NoNewPrivs: "0",
  });
  const { capKeep: most } = capabilitiesOf({ drop: ["SYS_ADMIN", "BPF"] });
  const before = statusOf((await peer.shell(CAPS)).stdout);
  const after = statusOf((await peer.shell(CAPS, { more: { capKeep: most } })).stdout);
  const gone = (1n << 21n) | (1n << 39n);
  for (const set of ["CapPrm", "CapEff", "CapBnd"]) {
    assert.equal(BigInt(`0x${after[set]}`), BigInt(`0x${before[set]}`) & ~gone, set);
  }
}, !root);

agentTest("looks programs up without what root is denied", async ({ peer }) => {
  await using folder = new TempFolder();
  const path = `${folder.path}/private`;
  await Deno.mkdir(path, { mode: 0o700 });
  await Deno.writeTextFile(`${path}/program`, "#!/bin/sh\necho ran\n", { mode: 0o755 });
  await Deno.chown(path, 54321, 54321);
  assert.equal((await peer.exec([`${path}/program`]).outcome()).stdout, "ran\n");
  const { error } = await peer.exec([`${path}/program`], { more: { capKeep: 0 } }).outcome();
  assert.partialDeepStrictEqual(error, { kind: "not_executable", errno: 13 });
}, !root);

agentTest("gives others than root what was added, and no more", async ({ peer }) => {
  const { capKeep, capGive } = capabilitiesOf({ add: ["NET_BIND_SERVICE"] });
  const given = statusOf(
    (await peer.shell(CAPS, { user: "54321:54321", more: { capKeep, capGive } })).stdout,
  );
  const bit = "0000000000000400";
  assert.partialDeepStrictEqual(given, { CapInh: bit, CapPrm: bit, CapEff: bit, CapAmb: bit });
  const before = statusOf((await peer.shell(CAPS)).stdout);
  assert.equal(given.CapBnd, before.CapBnd);
  const only = capabilitiesOf({ drop: ["ALL"], add: ["NET_BIND_SERVICE"] });
  const bounded = statusOf(
    (await peer.shell(CAPS, { user: "54321:54321", more: { ...only } })).stdout,
  );
  assert.partialDeepStrictEqual(bounded, { CapEff: bit, CapAmb: bit, CapBnd: bit });
  const plain = statusOf((await peer.shell(CAPS, { user: "54321" })).stdout);
  assert.match(plain.CapEff ?? "", /^0+$/);
}, !root);

agentTest("says when a capability can't be given", async ({ peer }) => {
  // 63 has no meaning to any kernel.
  const { error } = await peer.exec(["true"], {
    user: "54321",
    more: { capKeep: 2n ** 63n, capGive: 2n ** 63n },
  }).outcome();
  assert.partialDeepStrictEqual(error, { kind: "limit_refused" });
}, !root);

agentTest("lets set-user-ID programs give nothing where that is asked", async ({ peer }) => {
  const { stdout } = await peer.shell(CAPS, { more: { noNewPrivileges: true } });
  assert.equal(statusOf(stdout).NoNewPrivs, "1");
});

function limitsIn(text: string): Map<string, string[]> {
  return new Map(
    text.split("\n").slice(1).filter((line) => line !== "").map((line) => {
      const [soft = "", hard = ""] = line.slice(26).trim().split(/\s+/);
      return [line.slice(0, 26).trim(), [soft, hard]];
    }),
  );
}

function statusOf(text: string): Record<string, string> {
  return Object.fromEntries(
    text.trim().split("\n").map((line) => line.split(/:\s+/)).map(([key = "", value = ""]) => [
      key,
      value,
    ]),
  );
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
