/** Networks, all of it; in the emulated machine with KVM that takes ten minutes (`deno task test:lab-network`). */
import assert from "node:assert/strict";
import { NETWORK_CASES, withNetworks } from "./network_cases.ts";
import { BOX, ENGINE, hutch, TEST_ENGINE, withHome } from "./support.ts";

Deno.test(`Networks on ${TEST_ENGINE}`, (test) =>
  withNetworks(async (stage) => {
    for (const [name, body] of NETWORK_CASES) await test.step(name, () => body(stage));
  }));

Deno.test(`hutch run -p and --network on ${TEST_ENGINE} say what can't be`, () =>
  withHome(async (home) => {
    const bad = await hutch(home, ["run", "--engine", ENGINE, "-p", "x:80", BOX.image, "true"]);
    assert.match(bad.stderr, /Cannot publish "x:80": "x" is no port/);
    const mode = await hutch(home, [
      "run",
      "--engine",
      ENGINE,
      "--network",
      "lan",
      BOX.image,
      "true",
    ]);
    assert.match(mode.stderr, /--network/);
    assert.notEqual(mode.code, 0);
    Deno.env.set("HUTCH_NET", "/nowhere");
    using _unset = { [Symbol.dispose]: () => Deno.env.delete("HUTCH_NET") };
    const part = await hutch(home, ["run", "--engine", ENGINE, BOX.image, "true"]);
    assert.match(part.stderr, /Cannot give a box a network: there is no \/nowhere/);
    assert.match(part.stderr, /apt-get install libslirp-dev && deno task build/);
    const doctor = await hutch(home, ["doctor"]);
    assert.match(doctor.stdout, /no \/nowhere[^]*apt-get install libslirp-dev && deno task build/);
  }));
