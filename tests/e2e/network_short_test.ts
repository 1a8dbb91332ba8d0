/** Of networks what an engine has a part in: a beginning, where all of it takes ten minutes. */
import assert from "node:assert/strict";
import { NETWORK_CASES, withNetworks } from "./network_cases.ts";
import { TEST_ENGINE } from "./support.ts";

const CHOSEN = [
  "A box has addresses, names and a name server",
  "An open box gets much from this machine and sends much to it, by IPv4 and IPv6",
  "A published port lets either side end first, by IPv4 and IPv6",
  "A published UDP port answers, by IPv4 and IPv6",
  "A box of the usual network is refused at once what isn't public",
];

// All of it is run on QEMU's emulation.
if (TEST_ENGINE !== "qemu") {
  Deno.test(`Networks in short, on ${TEST_ENGINE}`, (test) =>
    withNetworks(async (stage) => {
      const chosen = NETWORK_CASES.filter(([name]) => CHOSEN.includes(name));
      assert.equal(chosen.length, CHOSEN.length);
      for (const [name, body] of chosen) await test.step(name, () => body(stage));
    }));
}
