import assert from "node:assert/strict";
import { checkOptions, makeConfig } from "../../src/box/config.ts";
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
    ["an empty label", { labels: { "": "x" } }, '""'],
    ["a label of hutch's", { labels: { "hutch.x": "" } }, '"hutch.x"'],
    ["a host name of 65 bytes", { hostname: "a".repeat(65) }, "65 bytes"],
    ["a host name with a space", { hostname: "a b" }, '"a b"'],
    ["a boot timeout of zero", { bootTimeoutMs: 0 }, "0 ms"],
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
