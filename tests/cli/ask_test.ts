import assert from "node:assert/strict";
import { ask, canAsk, type TerminalSource } from "../../src/cli/ask.ts";
import { Interrupted } from "../../src/cli/report.ts";
import { MemorySink } from "./helpers.ts";

/** A terminal at which these pieces are typed, and then nothing more. */
class TypedTerminal implements TerminalSource {
  readonly #pieces: (string | Uint8Array | null)[];
  readonly modes: boolean[] = [];

  constructor(...pieces: readonly (string | Uint8Array | null)[]) {
    this.#pieces = [...pieces];
  }

  isTerminal(): boolean {
    return true;
  }

  setRaw(raw: boolean): void {
    this.modes.push(raw);
  }

  read(buffer: Uint8Array): Promise<number | null> {
    const piece = this.#pieces.shift();
    if (piece === undefined) return new Promise(() => {});
    if (piece === null) return Promise.resolve(null);
    const bytes = typeof piece === "string" ? new TextEncoder().encode(piece) : piece;
    buffer.set(bytes);
    return Promise.resolve(bytes.length);
  }
}

async function answerOf(
  stdin: TypedTerminal,
  { hidden = true, signal = new AbortController().signal } = {},
): Promise<{ answer: string; shown: string }> {
  const stderr = new MemorySink();
  const answer = await ask({ stdin, stderr }, { prompt: "Who? ", hidden, signal });
  assert.deepEqual(stdin.modes, [true, false]);
  return { answer, shown: stderr.text };
}

Deno.test("ask reads a line without showing it", async () => {
  assert.deepEqual(await answerOf(new TypedTerminal("pass", "wört\r")), {
    answer: "passwört",
    shown: "Who? \n",
  });
  assert.equal((await answerOf(new TypedTerminal("\n"))).answer, "");
  assert.equal((await answerOf(new TypedTerminal("a", "\x04"))).answer, "a");
  assert.equal((await answerOf(new TypedTerminal("a", null))).answer, "a");
});

Deno.test("ask understands corrections, also of characters that come in pieces", async () => {
  const [first, second] = new TextEncoder().encode("ö");
  const pieces = [Uint8Array.of(first ?? 0), Uint8Array.of(second ?? 0)];
  assert.equal((await answerOf(new TypedTerminal("wrong\x15ab", ...pieces, "\n"))).answer, "abö");
  assert.equal(
    (await answerOf(new TypedTerminal("a", ...pieces, "\x7f\x08\x08bc\n"))).answer,
    "bc",
  );
  assert.equal((await answerOf(new TypedTerminal("a\x1b\tb\n"))).answer, "ab");
});

Deno.test("ask shows what is typed where it isn't hidden", async () => {
  assert.deepEqual(
    await answerOf(new TypedTerminal("m", "x", "\x7f", "e", "\n"), { hidden: false }),
    {
      answer: "me",
      shown: "Who? mx\b \b\b \bme\n",
    },
  );
});

Deno.test("ask ends by Ctrl-C, at the end of input, and when it is told to", async () => {
  const interrupted = new TypedTerminal("pass\x03");
  await assert.rejects(answerOf(interrupted), Interrupted);
  const ended = new TypedTerminal("\x04");
  await assert.rejects(answerOf(ended), { code: "cancelled" });
  await assert.rejects(answerOf(new TypedTerminal(null)), { code: "cancelled" });
  const told = new TypedTerminal("pass");
  const cancel = new AbortController();
  const asking = answerOf(told, { signal: cancel.signal });
  cancel.abort(new Interrupted("SIGTERM"));
  await assert.rejects(asking, Interrupted);
  for (const { modes } of [interrupted, ended, told]) assert.deepEqual(modes, [true, false]);
});

Deno.test("canAsk tells a terminal from a pipe", () => {
  assert.equal(canAsk(new TypedTerminal()), true);
  assert.equal(canAsk({ read: () => Promise.resolve(null) }), false);
});
