/**
 * Pulls on a real terminal, as `script` makes one.
 *
 * @module
 */
import assert from "node:assert/strict";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { OnTerminal, ptyTools } from "../support/pty.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { Terminal } from "../support/terminal.ts";

const MAIN = new URL("../../src/cli/main.ts", import.meta.url).pathname;
const { ignore, note } = ptyTools;
const SIZE = { columns: 100, rows: 20 };
const LAYERS = [1, 2].map((seed) =>
  writeTar({ path: `file${seed}`, data: someBytes(3_000_000, seed) })
);
const IMAGE = memoryImage(LAYERS);

/** Half of the last layer comes at once, the rest when the test says so. */
class HaltingRegistry extends FakeRegistry {
  readonly #going = Promise.withResolvers<"rest" | "break">();

  constructor() {
    super();
    this.addImage("a/b:1", IMAGE);
    const digest = IMAGE.layers.at(-1) ?? "?";
    const bytes = LAYERS.at(-1) ?? new Uint8Array();
    this.misbehave = (request, url) => {
      if (!url.pathname.endsWith(digest)) return undefined;
      if (request.headers.has("range")) return new Response(null, { status: 404 });
      let half = 0;
      const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
        pull: async (controller) => {
          const over = half === 2 || half === 1 && await this.#going.promise === "break";
          if (over) return controller.close();
          const middle = bytes.length / 2;
          controller.enqueue(half === 0 ? bytes.slice(0, middle) : bytes.slice(middle));
          half++;
        },
      });
      return new Response(body);
    };
  }

  go(how: "rest" | "break"): void {
    this.#going.resolve(how);
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.go("break");
    await super[Symbol.asyncDispose]();
  }
}

/** `hutch pull` on a terminal. */
class PullOnTerminal implements AsyncDisposable {
  readonly on: OnTerminal;

  constructor(home: string, reference: string) {
    const hutch = [Deno.execPath(), "run", "-q", "-A", "--no-check", MAIN, "--no-config"];
    this.on = OnTerminal.start([...hutch, "--home", home, "pull", reference], SIZE);
  }

  /** What shows now. */
  get text(): string {
    const terminal = new Terminal(SIZE);
    terminal.write(this.on.raw.slice(0, endOfWhole(this.on.raw)));
    return terminal.text;
  }

  async until(shows: (text: string) => boolean): Promise<void> {
    await this.on.until(() => shows(this.text));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.on[Symbol.asyncDispose]();
  }
}

/** How much of `text` has no control sequence that is still on its way. */
function endOfWhole(text: string): number {
  const escape = text.lastIndexOf("\x1b");
  // deno-lint-ignore no-control-regex -- it is what begins a sequence
  return escape >= 0 && !/^\x1b\[[?\d;]*[A-Za-z]/.test(text.slice(escape)) ? escape : text.length;
}

function halfway(text: string): boolean {
  return /^total .*\[=+>.* 4\.3 MiB of 5\.7 MiB/m.test(text);
}

Deno.test(
  `hutch pull draws bars on a terminal and leaves two lines${note}`,
  { ignore },
  async () => {
    await using home = new TempFolder();
    await using registry = new HaltingRegistry();
    await using pull = new PullOnTerminal(home.path, `${registry.host}/a/b:1`);
    await pull.until(halfway);
    const [head, ...bars] = pull.text.split("\n");
    assert.equal(head, `${registry.host}/a/b:1: 2 layers, 5.7 MiB`);
    assert.equal(bars.length, 3, pull.text);
    for (const bar of bars) assert.match(bar, /^[0-9a-z]+ +\[=+>? *\] +[\d.]+ MiB of [\d.]+ MiB/);
    registry.go("rest");
    assert.equal(await pull.on.end(), 0, pull.text);
    const [outcome = "", ...rest] = pull.text.split("\n");
    assert.match(outcome, /: fetched 5\.7 MiB, in [\d.]+ s$/);
    assert.deepEqual(rest, [IMAGE.digest]);
    assert(!pull.on.raw.includes("\x1b[?25"), "it hides the cursor");
  },
);

Deno.test(`hutch pull takes its bars away when Ctrl-C ends it${note}`, { ignore }, async () => {
  await using home = new TempFolder();
  await using registry = new HaltingRegistry();
  await using pull = new PullOnTerminal(home.path, `${registry.host}/a/b:1`);
  await pull.until(halfway);
  await pull.on.press("\x03");
  assert.equal(await pull.on.end(), 130, pull.text);
  assert.equal(pull.text, "");
});

Deno.test(`hutch pull takes its bars away when it fails${note}`, { ignore }, async () => {
  await using home = new TempFolder();
  await using registry = new HaltingRegistry();
  await using pull = new PullOnTerminal(home.path, `${registry.host}/a/b:1`);
  await pull.until(halfway);
  registry.go("break");
  assert.equal(await pull.on.end(), 125, pull.text);
  assert.match(pull.text, /^hutch: Cannot pull /);
  assert.doesNotMatch(pull.text, /total|layers/);
});

Deno.test(
  `hutch pull fits its bars to a terminal that changes its size${note}`,
  { ignore },
  async () => {
    await using home = new TempFolder();
    await using registry = new HaltingRegistry();
    await using pull = new PullOnTerminal(home.path, `${registry.host}/a/b:1`);
    await pull.until(halfway);
    const drawn = pull.on.raw.length;
    await pull.on.resize(3, 40);
    await pull.until(() => /total +75% +4\.3 MiB/.test(pull.on.raw.slice(drawn)));
    registry.go("rest");
    assert.equal(await pull.on.end(), 0);
  },
);
