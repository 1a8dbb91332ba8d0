import assert from "node:assert/strict";
import { RawTerminal } from "../../src/cli/raw_terminal.ts";

function setUp() {
  const did: string[] = [];
  const listeners = new Map<Deno.Signal, () => void>();
  const options = {
    setRaw: (raw: boolean) => void did.push(raw ? "raw" : "as it was"),
    continued: () => void did.push("continued"),
    stop: () => void did.push("stop"),
    source: {
      addSignalListener: (signal: Deno.Signal, listener: () => void) =>
        void listeners.set(signal, listener),
      removeSignalListener: (signal: Deno.Signal) => void listeners.delete(signal),
    },
  };
  return { did, listeners, options };
}

Deno.test("RawTerminal gives the terminal back while the process stands still", () => {
  const { did, listeners, options } = setUp();
  {
    using _terminal = new RawTerminal(options);
    listeners.get("SIGTSTP")?.();
    listeners.get("SIGCONT")?.();
  }
  assert.deepEqual(did, ["raw", "as it was", "stop", "raw", "continued", "as it was"]);
  assert.equal(listeners.size, 0);
});

Deno.test("RawTerminal gives the terminal back when the process ends in the middle", () => {
  const { did, options } = setUp();
  using _terminal = new RawTerminal(options);
  globalThis.dispatchEvent(new Event("unload"));
  assert.deepEqual(did, ["raw", "as it was"]);
});

Deno.test("RawTerminal lives with a terminal that went away", () => {
  const { options } = setUp();
  let there = true;
  const setRaw = () => {
    if (!there) throw new Error("it is gone");
  };
  using _terminal = new RawTerminal({ ...options, setRaw });
  there = false;
});
