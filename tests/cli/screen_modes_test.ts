import assert from "node:assert/strict";
import { ScreenModes } from "../../src/cli/screen_modes.ts";

function undone(...pieces: readonly string[]): string {
  const modes = new ScreenModes();
  for (const piece of pieces) modes.see(new TextEncoder().encode(piece));
  return modes.undo();
}

Deno.test("ScreenModes undoes what a program has set, and nothing else", () => {
  assert.equal(undone("plain \x1b[1mtext\x1b[m\x1b[2;5H\x1b]0;title\x07"), "");
  assert.equal(
    undone("\x1b[?1049h\x1b[22;0;0t\x1b[?1h\x1b=\x1b[?25l"),
    [
      ...["\x1b[?1049l", "\x1b[?1l", "\x1b>", "\x1b[?25h"],
    ].join(""),
  );
  assert.equal(undone("\x1b[?1000;1006h", "\x1b[?2004h"), "\x1b[?1000l\x1b[?1006l\x1b[?2004l");
  assert.equal(undone("\x1b[?1049h text \x1b[?1049l\x1b[?25l\x1b[?25h\x1b=\x1b>"), "");
  assert.equal(undone("\x1b[?12h\x1b[?7l"), "", "modes that disturb nobody");
});

Deno.test("ScreenModes reads sequences in any pieces, and drops what is none", () => {
  const text = "x\x1b[?1049hy\x1b[?25lz";
  for (let at = 1; at < text.length; at++) {
    assert.equal(undone(text.slice(0, at), text.slice(at)), "\x1b[?1049l\x1b[?25h");
  }
  assert.equal(undone(...text), "\x1b[?1049l\x1b[?25h");
  assert.equal(undone(`\x1b[?${"1".repeat(10_000)}h\x1b[?1h`), "\x1b[?1l");
  assert.equal(undone("\x1b\x1b[?1h"), "\x1b[?1l");
  assert.equal(undone("\x1b[\x1b[?1h"), "\x1b[?1l");
});
