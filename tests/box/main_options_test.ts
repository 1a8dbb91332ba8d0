import assert from "node:assert/strict";
import { checkOptions, makeConfig } from "../../src/box/config.ts";
import type { BoxOptions } from "../../src/box/options.ts";
import { signalNumber } from "../../src/box/signals.ts";
import { HutchError } from "../../src/errors.ts";

const MACHINE = { cpus: 4, memoryMiB: 4096 };
const IMAGE = {
  env: {},
  entrypoint: ["/entry"],
  cmd: ["serve"],
  workingDir: "/",
  user: "",
  labels: {},
  exposedPorts: [],
  volumes: [],
  stopSignal: "SIGQUIT",
};

function configOf(options: Partial<BoxOptions>, image: Partial<typeof IMAGE> = {}) {
  const checked = checkOptions({ image: "debian:12", ...options }, MACHINE);
  const about = { reference: "registry:debian:12", digest: `sha256:${"0".repeat(64)}` };
  return makeConfig(checked, about, { ...IMAGE, ...image });
}

const argvOf = (options: Partial<BoxOptions>, image: Partial<typeof IMAGE> = {}) =>
  configOf(options, image).main?.argv;

Deno.test("makeConfig makes the main command as Docker does", () => {
  assert.equal(argvOf({}), undefined);
  assert.equal(argvOf({ main: false }), undefined);
  assert.deepEqual(argvOf({ main: true }), ["/entry", "serve"]);
  assert.deepEqual(argvOf({ main: ["other", "-x"] }), ["/entry", "other", "-x"]);
  assert.deepEqual(argvOf({ main: ["ls"], entrypoint: [] }), ["ls"]);
  assert.deepEqual(argvOf({ main: true, entrypoint: ["mine"] }), ["mine"]);
  const limited = configOf({ main: { args: ["x"], noNewPrivileges: true, stdin: true } }).main;
  assert.deepEqual(limited, { argv: ["/entry", "x"], stdin: true, noNewPrivileges: true });
});

Deno.test("makeConfig does without an optional main command that would be a mere shell", () => {
  const optional = { main: { optional: true } };
  for (const cmd of [[], ["sh"], ["/bin/bash"]]) {
    assert.equal(argvOf(optional, { entrypoint: [], cmd }), undefined);
  }
  assert.deepEqual(argvOf(optional, { entrypoint: [], cmd: ["sh", "x"] }), ["sh", "x"]);
  assert.deepEqual(
    argvOf({ main: { optional: true, stdin: true } }, { entrypoint: [], cmd: ["sh"] }),
    [
      "sh",
    ],
  );
  assert.deepEqual(argvOf({ main: true }, { entrypoint: [], cmd: ["sh"] }), ["sh"]);
});

Deno.test("makeConfig takes the image's stop signal if it is one, and an init as main command", () => {
  assert.equal(configOf({}).stopSignal, "SIGQUIT");
  assert.equal(configOf({}, { stopSignal: "9x" }).stopSignal, "");
  assert.equal(configOf({ stopSignal: "RTMIN+3" }).stopSignal, "RTMIN+3");
  const { main, init } = configOf({ init: "/sbin/init" });
  assert.deepEqual([main, init], [{ argv: ["/sbin/init"], stdin: false }, "/sbin/init"]);
  assert.equal(configOf({ init: true }).init, null);
  assert.deepEqual(configOf({ log: { files: 1 } }).log, { maxBytes: 10 * 2 ** 20, files: 1 });
});

const refused: readonly (readonly [Partial<BoxOptions>, RegExp, Partial<typeof IMAGE>?])[] = [
  [{ main: true }, /names none of its own/, { entrypoint: [], cmd: [] }],
  [{ main: [""], entrypoint: [] }, /names none of its own/],
  [{ main: ["a\0b"] }, /NUL/],
  [{ main: { rlimits: { nofile: -1 } } }, /nofile/],
  [{ init: "sbin/init" }, /doesn't begin with/],
  [{ init: "/sbin/init", main: true }, /beside \/sbin\/init/],
  [{ stopSignal: "SIGNONE" }, /SIGNONE/],
  [{ log: { maxBytes: 1 } }, /logs of 1 bytes/],
  [{ log: { files: 0 } }, /0 files/],
];
for (const [options, message, image] of refused) {
  Deno.test(`makeConfig refuses ${JSON.stringify(options)}`, () => {
    assert.throws(
      () => configOf(options, image),
      (error) =>
        error instanceof HutchError && error.code === "invalid_option" &&
        message.test(error.message),
    );
  });
}

Deno.test("signalNumber reads numbers, as images have them", () => {
  assert.deepEqual(["15", "37", "SIGRTMIN+3"].map(signalNumber), [15, 37, 37]);
  for (const none of ["0", "65", "-1", "1.5"]) assert.throws(() => signalNumber(none), HutchError);
});
