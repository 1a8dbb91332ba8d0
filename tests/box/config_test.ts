import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { checkOptions, hostnameOf, makeConfig } from "../../src/box/config.ts";
import type { BoxOptions } from "../../src/box/options.ts";
import type { ImageConfig } from "../../src/images/config.ts";

const MACHINE = { cpus: 4, memoryMiB: 4096 };
const IMAGE: ImageConfig = {
  env: { PATH: "/image/bin", LANG: "C" },
  entrypoint: ["/entry"],
  cmd: ["one", "two"],
  workingDir: "/srv",
  user: "app",
  labels: {},
  exposedPorts: [],
  volumes: [],
  stopSignal: "",
};
const REFERENCE = { reference: "builtin:busybox", digest: `sha256:${"a".repeat(64)}` };

function check(options: Omit<BoxOptions, "image">) {
  return checkOptions({ image: "builtin:busybox", ...options }, MACHINE);
}

for (
  const [why, options, named] of [
    ["an empty name", { name: "" }, '""'],
    ["a name that begins with a dot", { name: ".x" }, '".x"'],
    ["a name with a slash", { name: "a/b" }, '"a/b"'],
    ["a name of 64 characters", { name: "a".repeat(64) }, "a".repeat(64)],
    ["zero CPUs", { cpus: 0 }, "0 CPUs"],
    ["more CPUs than there are", { cpus: 5 }, "5 CPUs"],
    ["half a CPU", { cpus: 1.5 }, "1.5 CPUs"],
    ["memory under 64 MiB", { memory: 63 }, "63 MiB"],
    ["memory as text under 64 MiB", { memory: "10m" }, "10 MiB"],
    ["memory that isn't a size", { memory: "much" }, '"much"'],
    ["memory that isn't a number", { memory: NaN }, "NaN MiB"],
    ["more memory than there is", { memory: "1t" }, "1048576 MiB"],
    ["a disk of nothing", { disk: 0 }, "0 MiB"],
    ["a disk over 64 TiB", { disk: "65t" }, "65 TiB|68157440 MiB"],
    ["a relative working folder", { cwd: "srv" }, '"srv"'],
    ["an environment name with =", { env: { "A=B": "" } }, '"A=B"'],
    ["an environment name of hutch's", { env: { HUTCH_X: "" } }, '"HUTCH_X"'],
    ["an environment value with NUL", { env: { A: "\0" } }, '"A"'],
    ["an empty environment name", { env: { "": "x" } }, '""'],
    ["an environment name with NUL", { env: { "A\0B": "x" } }, "A\\u0000B"],
    ["a label with NUL in its key", { labels: { "a\0": "x" } }, "a\\u0000"],
    ["a label with NUL in its value", { labels: { a: "\0" } }, '"a"'],
    ["an empty host name", { hostname: "" }, '""'],
    ["a host name that begins with a dash", { hostname: "-a" }, '"-a"'],
    ["a host name that ends with a dot", { hostname: "a." }, '"a."'],
    ["a host name of 33 letters of two bytes", { hostname: "\u00e9".repeat(33) }, "66 bytes"],
    ["an empty label", { labels: { "": "x" } }, '""'],
    ["a label of hutch's", { labels: { "hutch.x": "" } }, '"hutch.x"'],
    ["a host name of 65 bytes", { hostname: "a".repeat(65) }, "65 bytes"],
    ["a host name with a space", { hostname: "a b" }, '"a b"'],
    ["a boot timeout of zero", { bootTimeoutMs: 0 }, "0 ms"],
    ["a boot timeout that isn't a number", { bootTimeoutMs: NaN }, "bootTimeoutMs of NaN ms"],
    ["a boot timeout without end", { bootTimeoutMs: Infinity }, "bootTimeoutMs of Infinity ms"],
    [
      "a boot timeout that no timer waits",
      { bootTimeoutMs: 2 ** 31 },
      "isn't from 1 to 2147483647",
    ],
    ["a longest life of zero", { maxDurationMs: 0 }, "maxDurationMs of 0 ms"],
    ["a longest life without end", { maxDurationMs: Infinity }, "Infinity ms"],
    ["an idle time below zero", { idleTimeoutMs: -1 }, "idleTimeoutMs of -1 ms"],
    ["an idle time that isn't a number", { idleTimeoutMs: NaN }, "NaN ms"],
    ["no restarts at all", { restart: "on-failure:0" }, '"on-failure:0"'],
    ["half a restart", { restart: "on-failure:1.5" }, '"on-failure:1.5"'],
    ["a health command without a program", { health: { command: ["", "x"] } }, "empty program"],
    ["a health command with NUL", { health: { command: ["a", "\0"] } }, "health command"],
    ["health checks without a pause", { health: { intervalMs: 0 } }, "intervalMs of 0 ms"],
    ["health checks without time", { health: { timeoutMs: -1 } }, "timeoutMs of -1 ms"],
    ["zero failures", { health: { retries: 0 } }, "0 retries"],
    ["half a failure", { health: { retries: 1.5 } }, "1.5 retries"],
    ["a start period below zero", { health: { startPeriodMs: -1 } }, "startPeriodMs of -1 ms"],
  ] as const
) {
  Deno.test(`checkOptions refuses ${why} and names it`, () => {
    assert.throws(() => check(options), (error: unknown) => {
      assert.ok(error instanceof Error && "code" in error);
      assert.equal(error.code, "invalid_option");
      assert.match(error.message, new RegExp(named.replaceAll(/[.*+?^$()[\]\\]/g, "\\$&")));
      return true;
    });
  });
}

Deno.test("checkOptions takes names, labels and variables at their limits", () => {
  check({
    name: `a${"._-".repeat(20)}bc`,
    hostname: `${"a".repeat(62)}.b`,
    env: { hutch_x: "", HUTCH: "", "a.b-c": "=\n" },
    labels: { "hutch": "", "xhutch.y": "", " ": "\u{1f600}", "__proto__x": "" },
  });
});

Deno.test("checkOptions takes numbers as MiB and text with units", () => {
  const checked = check({ memory: "1.5GiB", disk: 100 });
  assert.deepEqual([checked.memoryMiB, checked.diskMiB, checked.cpus], [1536, 100, 1]);
});

Deno.test("makeConfig fills in the image's defaults", () => {
  const config = makeConfig(check({}), REFERENCE, IMAGE);
  assert.match(config.id, /^[0-9a-f]{12}$/);
  assert.equal(config.name, `box-${config.id}`);
  assert.equal(config.hostname, config.name);
  assert.deepEqual(config.exec, {
    env: { PATH: "/image/bin", LANG: "C" },
    cwd: "/srv",
    user: "app",
  });
  assert.deepEqual([config.entrypoint, config.command], [["/entry"], ["one", "two"]]);
  assert.deepEqual([config.autoRemove, config.owned], [true, true]);
});

Deno.test("makeConfig lets the caller's options win", () => {
  const config = makeConfig(
    check({
      name: "mine",
      env: { LANG: "de", X: "1" },
      cwd: "/w",
      user: "0",
      entrypoint: ["/other"],
      hostname: "there",
    }),
    REFERENCE,
    IMAGE,
  );
  assert.deepEqual(config.exec, {
    env: { PATH: "/image/bin", LANG: "de", X: "1" },
    cwd: "/w",
    user: "0",
  });
  // As Docker does, an entrypoint of one's own doesn't get the image's arguments.
  assert.deepEqual([config.entrypoint, config.command], [["/other"], []]);
  assert.deepEqual([config.autoRemove, config.owned, config.hostname], [false, false, "there"]);
});

Deno.test("makeConfig gives a PATH to images without one", () => {
  const config = makeConfig(check({}), REFERENCE, { ...IMAGE, env: {} });
  assert.match(config.exec.env.PATH ?? "", /^\/usr\/local\/sbin:/);
});

Deno.test("makeConfig makes a detached box that nobody owns", () => {
  const config = makeConfig(check({ autoRemove: true, detached: true }), REFERENCE, IMAGE);
  assert.deepEqual([config.autoRemove, config.owned], [true, false]);
});

Deno.test("makeConfig fills in how a box lives", () => {
  const plain = makeConfig(check({}), REFERENCE, IMAGE);
  assert.deepEqual(
    [plain.maxDurationMs, plain.idleTimeoutMs, plain.restart, plain.health],
    [null, null, "no", null],
  );
  const asked = makeConfig(
    check({ maxDurationMs: 5, idleTimeoutMs: 6, restart: "on-failure:2", health: { retries: 1 } }),
    REFERENCE,
    IMAGE,
  );
  assert.deepEqual([asked.maxDurationMs, asked.idleTimeoutMs, asked.restart], [
    5,
    6,
    "on-failure:2",
  ]);
  assert.deepEqual(asked.health, {
    command: [],
    intervalMs: 30_000,
    timeoutMs: 10_000,
    retries: 1,
    startPeriodMs: 60_000,
  });
});

Deno.test("checkOptions takes a start period of zero", () => {
  check({ health: { startPeriodMs: 0 } });
});

for (
  const [name, expected] of [
    ["web", "web"],
    ["a".repeat(63), "a".repeat(63)],
    ["a".repeat(64), "a".repeat(64)],
    ["a".repeat(65), `${"a".repeat(55)}-${hash("a".repeat(65))}`],
    // 27 of two bytes and one more byte fit: the 28th isn't cut in two.
    [`x${"\u00e9".repeat(40)}`, `x${"\u00e9".repeat(27)}-${hash(`x${"\u00e9".repeat(40)}`)}`],
    ["\u{1f600}".repeat(20), `${"\u{1f600}".repeat(13)}-${hash("\u{1f600}".repeat(20))}`],
    ["web.", `web-${hash("web.")}`], // a host name ends with a letter or digit
    ["web-._", `web-${hash("web-._")}`],
  ] as const
) {
  Deno.test(`hostnameOf makes a host name of ${JSON.stringify(name)}`, () => {
    const made = hostnameOf(name);
    assert.equal(made, expected);
    assert(new TextEncoder().encode(made).length <= 64);
  });
}

Deno.test("hostnameOf gives different long names different host names", () => {
  const names = ["a", "b", "c"].map((end) => hostnameOf("x".repeat(70) + end));
  assert.equal(new Set(names).size, 3);
});

Deno.test("makeConfig takes a host name from a name that can't be one", () => {
  const config = makeConfig(check({ name: "web." }), REFERENCE, IMAGE);
  assert.equal(config.hostname, `web-${hash("web.")}`);
});

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 8);
}
