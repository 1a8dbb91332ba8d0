import assert from "node:assert/strict";
import { TerminalMode } from "../../ffi/terminal.ts";
import { HutchError } from "../../src/errors.ts";
import { OnTerminal, ptyTools } from "../support/pty.ts";
import "../support/native.ts";

const MODULE = new URL("../../ffi/terminal.ts", import.meta.url).href;
const { ignore, note } = ptyTools;

Deno.test(`TerminalMode makes a terminal raw and as it was${note}`, { ignore }, async () => {
  const program = `import { TerminalMode } from ${JSON.stringify(MODULE)};
    const mode = new TerminalMode(0);
    mode.setRaw(true);
    console.log("raw");
    await Deno.stdin.read(new Uint8Array(1));
    mode.setRaw(true);
    mode.setRaw(false);
    mode.setRaw(false);
    console.log("done");`;
  const command = [
    Deno.execPath(),
    "run",
    "-A",
    "-q",
    "--no-check",
    `data:,${encodeURIComponent(program)}`,
  ];
  await using terminal = OnTerminal.start(command, { rows: 24, columns: 80 });
  await terminal.until(/raw\n/);
  assert.doesNotMatch(terminal.raw, /raw\r/);
  assert.notEqual(await terminal.settings(), terminal.before);
  await terminal.press("\x03"); // a key like any other
  assert.equal(await terminal.end(), 0);
  assert.match(terminal.fresh, /^done\r\n/);
  assert.equal(terminal.after, terminal.before);
});

Deno.test("TerminalMode refuses what is no terminal", () => {
  using file = Deno.openSync("/dev/null");
  assert(!file.isTerminal());
  assert.throws(() => new TerminalMode(-1).setRaw(true), HutchError);
  new TerminalMode(-1).setRaw(false);
});
