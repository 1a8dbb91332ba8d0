import assert from "node:assert/strict";
import { Interrupted } from "../../src/cli/report.ts";
import { SignalRelay } from "../../src/cli/signals.ts";

function setUp() {
  const listeners = new Map<Deno.Signal, () => void>();
  const said: string[] = [];
  const exits: number[] = [];
  const sent: string[] = [];
  const clock = { now: 0 };
  const relay = new SignalRelay({
    say: (line) => said.push(line),
    exit: (code) => exits.push(code),
    now: () => clock.now,
    source: {
      addSignalListener: (signal, listener) => listeners.set(signal, listener),
      removeSignalListener: (signal, listener) => {
        if (listeners.get(signal) === listener) listeners.delete(signal);
      },
    },
  });
  const raise = (signal: Deno.Signal) => listeners.get(signal)?.();
  const target = {
    kill: (signal: Deno.Signal) => {
      sent.push(signal);
      return Promise.resolve();
    },
    force: () => {
      sent.push("force");
      return Promise.resolve();
    },
  };
  return { relay, listeners, said, exits, sent, clock, raise, target };
}

Deno.test("SignalRelay passes signals to the command", () => {
  const { relay, raise, sent, target } = setUp();
  using _relay = relay;
  relay.forwardTo(target);
  const signals: Deno.Signal[] = [
    "SIGTERM",
    "SIGHUP",
    "SIGQUIT",
    "SIGUSR1",
    "SIGUSR2",
    "SIGINT",
    "SIGTERM",
  ];
  for (const signal of signals) raise(signal);
  assert.deepEqual(sent, signals);
  assert.equal(relay.signal.aborted, false);
  relay.throwIfInterrupted();
});

Deno.test("SignalRelay ends what ignores Ctrl-C pressed several times in a row", () => {
  const { relay, raise, sent, said, clock, target } = setUp();
  using _relay = relay;
  relay.forwardTo(target);
  for (let press = 0; press < 4; press++) {
    raise("SIGINT");
    clock.now += 1000;
  }
  assert.deepEqual(sent, ["SIGINT", "SIGINT", "SIGKILL", "force"]);
  assert.match(said[0] ?? "", /press Ctrl-C again to kill it/);
  assert.match(said[1] ?? "", /press Ctrl-C again to end its box/);
  assert.equal(said.length, 2);
});

Deno.test("SignalRelay counts only presses that are close together", () => {
  const { relay, raise, sent, said, clock, target } = setUp();
  using _relay = relay;
  relay.forwardTo(target);
  for (let press = 0; press < 5; press++) {
    raise("SIGINT");
    clock.now += 5000;
  }
  assert.deepEqual(sent, Array(5).fill("SIGINT"));
  assert.deepEqual(said, []);
});

Deno.test("SignalRelay aborts hutch's own work while no command runs", () => {
  const { relay, raise } = setUp();
  using _relay = relay;
  const error = new Error("cancelled");
  assert.equal(relay.explain(error), error);
  raise("SIGUSR1");
  assert.equal(relay.signal.aborted, false);
  raise("SIGTERM");
  raise("SIGINT");
  assert.equal(relay.signal.aborted, true);
  assert(relay.signal.reason instanceof Interrupted);
  const explained = relay.explain(error);
  assert(explained instanceof Interrupted);
  assert.equal(explained.signal, "SIGTERM");
  assert.throws(() => relay.throwIfInterrupted(), Interrupted);
});

Deno.test("SignalRelay leaves at the third Ctrl-C while hutch cleans up", () => {
  const { relay, raise, said, exits, target, sent } = setUp();
  using _relay = relay;
  relay.forwardTo(target);
  raise("SIGINT");
  relay.forwardTo(undefined);
  raise("SIGINT");
  assert.deepEqual([said.length, exits], [0, []]);
  raise("SIGINT");
  assert.match(said[0] ?? "", /press Ctrl-C again to leave/);
  raise("SIGINT");
  assert.deepEqual(exits, [130]);
  assert.deepEqual(sent, ["SIGINT"]);
});

Deno.test("SignalRelay survives a command that is gone already", async () => {
  const { relay, raise } = setUp();
  using _relay = relay;
  const gone = () => Promise.reject(new Error("gone"));
  relay.forwardTo({ kill: gone, force: gone });
  raise("SIGTERM");
  await Promise.resolve(); // An unhandled rejection would fail the test.
});

Deno.test("SignalRelay stops listening when disposed", () => {
  const { relay, listeners } = setUp();
  assert.equal(listeners.size, 6);
  relay[Symbol.dispose]();
  relay[Symbol.dispose]();
  assert.equal(listeners.size, 0);
});
