import assert from "node:assert/strict";
import { DetachableInput, parseDetachKeys } from "../../src/cli/detach_keys.ts";
import { HutchError } from "../../src/errors.ts";

const encode = (text: string) => new TextEncoder().encode(text);

/** Gives the pieces, one for each read. */
function source(...pieces: readonly string[]) {
  const left = pieces.map(encode);
  return {
    read(buffer: Uint8Array): Promise<number | null> {
      const piece = left.shift();
      if (piece) buffer.set(piece);
      return Promise.resolve(piece ? piece.length : null);
    },
  };
}

/** What comes through, `|` for each time that the keys were typed and refused, `.` at the end. */
async function passed(keys: string, pieces: readonly string[]): Promise<string> {
  let text = "";
  const typed = () => {
    text += "|";
    return false;
  };
  const input = new DetachableInput(source(...pieces), parseDetachKeys(keys, "test"), typed);
  const buffer = new Uint8Array(100);
  for (;;) {
    const count = await input.read(buffer);
    if (count === null) return text + ".";
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
}

Deno.test("parseDetachKeys reads keys as Docker names them", () => {
  assert.deepEqual(parseDetachKeys("ctrl-p,ctrl-q", "x"), [16, 17]);
  assert.deepEqual(parseDetachKeys("ctrl-@,CTRL-A,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", "x"), [
    ...[0, 1, 27, 28, 29, 30, 31],
  ]);
  assert.deepEqual(parseDetachKeys("a,~, ", "x"), [97, 126, 32]);
  assert.deepEqual(parseDetachKeys("", "x"), []);
});

Deno.test("parseDetachKeys refuses what is no key", () => {
  for (const text of ["ctrl-1", "ctrl-", "ab", ",", "a,", "é", "\x10", "ctrl-ab"]) {
    assert.throws(
      () => parseDetachKeys(text, "HUTCH_DETACH_KEYS"),
      (error) => error instanceof HutchError && /HUTCH_DETACH_KEYS/.test(error.message),
      text,
    );
  }
});

Deno.test("DetachableInput passes everything but the keys on", async () => {
  assert.equal(await passed("ctrl-p,ctrl-q", ["ab\x10", "c\x10", "\x11d"]), "ab\x10c|d.");
  assert.equal(await passed("a,a,b", ["a", "a", "a", "b", "aa", "c"]), "a|aac.");
  assert.equal(await passed("x", ["axbx", "c"]), "||abc.");
  assert.equal(await passed("ctrl-p,ctrl-q", ["\x10"]), "\x10.");
  assert.equal(await passed("", ["\x10\x11"]), "\x10\x11.");
});

Deno.test("DetachableInput gives nothing more once the keys ended it", async () => {
  const input = new DetachableInput(source("a\x10\x11b", "c"), [16, 17], () => true);
  const read = input.read(new Uint8Array(10));
  const won = await Promise.race([
    read,
    new Promise((resolve) => setTimeout(resolve, 20, "waits")),
  ]);
  assert.equal(won, "waits");
});
