import assert from "node:assert/strict";
import type { NetworkConnection, NetworkHooks } from "../../mod.ts";
import { rulingWords, textWord, wordText } from "../../src/network/hooks.ts";
import { NetworkHookRunner } from "../../src/plugin/network_hooks.ts";

const scope = { box: undefined, signal: new AbortController().signal };
const connection: NetworkConnection = {
  protocol: "tcp",
  address: "1.2.3.4",
  port: 443,
  group: "public",
  names: [],
  to: null,
};
const question = { name: "a.test", type: 1, answer: null };

function runnerOf(failures: string[], ...all: readonly NetworkHooks[]): NetworkHookRunner {
  return new NetworkHookRunner({
    plugins: all.map((network, index) => ({ name: `p${index}`, network })),
    context: (plugin, { signal }) => ({
      ...{ plugin: plugin.name, signal, box: undefined, log() {} },
      get runtime(): never {
        throw new Error("there is none");
      },
    }),
    failed: ({ message }) => void failures.push(message),
    limitsMs: { connect: 50, request: 50 },
  });
}

Deno.test("NetworkHookRunner knows what it has hooks for, and their hosts as they are compared", () => {
  assert.deepEqual(runnerOf([]).config, { kinds: [], hosts: [] });
  const { config } = runnerOf([], { onDns() {}, hosts: ["API.test"] }, {
    onResponse() {},
    hosts: ["api.test.", "*.b.test"],
  });
  assert.deepEqual(config, { kinds: ["dns", "request"], hosts: ["api.test", "*.b.test"] });
  assert.throws(() => runnerOf([], { hosts: ["1.2.3.4"] }), { code: "invalid_option" });
  assert.throws(
    () => runnerOf([], { hosts: Array.from({ length: 51 }, (_, i) => `h${i}.test`) }),
    /51 hosts/,
  );
});

Deno.test("NetworkHookRunner asks in order: the first denial counts, else the last word", async () => {
  const seen: unknown[] = [];
  const to = { address: "127.0.0.1", port: 1 };
  const later = { address: "5.6.7.8", port: 2 };
  const runner = runnerOf(
    [],
    { onConnect: ({ port }) => port === 1 ? "deny" : to },
    { onConnect: ({ to }) => void seen.push(to) },
    { onConnect: ({ port }) => port === 2 ? later : undefined },
    { onConnect: ({ port }) => port === 3 ? "deny" : undefined },
  );
  const said = async (port: number) =>
    rulingWords(await runner.connect({ ...connection, port }, scope));
  assert.equal(await said(443), "to 10.213.77.1 1", "this machine is where its network has it");
  assert.equal(await said(2), "to 5.6.7.8 2");
  assert.equal(await said(3), "deny refused p3");
  assert.equal(seen.length, 3);
  assert.equal(await said(1), "deny refused p0");
  assert.equal(seen.length, 3, "nobody else is asked");
  assert.equal(rulingWords(await runner.name(question, scope)), "allow");
});

Deno.test("NetworkHookRunner denies what fails, hangs, or answers something else", async () => {
  const bad: readonly (readonly [NetworkHooks, RegExp])[] = [
    [{ onConnect: () => Promise.reject(new Error("oh")) }, /"network.onConnect": oh/],
    [{ onConnect: () => ({ address: "::1", port: 1 }) }, /sends a connection to 1.2.3.4 to "::1"/],
    [{ onConnect: () => ({ address: "a b", port: 1 }) }, /to "a b"/],
    [{ onConnect: () => ({ address: "5.6.7.8", port: 0 }) }, /0 is no port/],
    [{ onConnect: () => JSON.parse("true") }, /sends a connection/],
  ];
  for (const [hooks, why] of bad) {
    const failures: string[] = [];
    const ruling = await runnerOf(failures, hooks).connect(connection, scope);
    assert.deepEqual(ruling, { kind: "deny", hook: "failed", plugin: "p0" });
    assert.match(failures.join(), why);
  }
  const failures: string[] = [];
  const names = runnerOf(failures, {
    onDns: ({ name }) => ({ addresses: name === "a.test" ? ["1.2.3.4\nx"] : [], ttlS: 1.5 }),
  });
  for (let times = 0; times < 40; times++) {
    const name = times % 2 === 0 ? "a.test" : "b.test";
    const { kind } = await names.name({ ...question, name }, scope);
    assert.equal(kind, "deny");
  }
  assert(failures.length < 20, "they are told once a second");
  let aborted = false;
  const hangs = runnerOf(failures, {
    onConnect: (_, { signal }) =>
      new Promise(() => signal.addEventListener("abort", () => aborted = true)),
  });
  assert.deepEqual(await hangs.connect(connection, scope), {
    ...{ kind: "deny", hook: "late", plugin: "p0" },
  });
  assert(aborted, "it hears that its time is up");
});

Deno.test("A plugin's name is one word of an order, and can be read again", () => {
  for (const name of ["plain", "a b\n; c", "π\u0000", "x".repeat(200)]) {
    assert.match(textWord(name), /^[\w%.~!*'()-]+$/);
    assert.equal(wordText(textWord(name)), name);
  }
  assert(textWord("é".repeat(500)).length <= 300);
});
