/**
 * The command line `hutch`.
 *
 * @module
 */
import type { CliIo } from "./io.ts";
import { OutputClosed, print } from "./io.ts";
import { parseCommandLine } from "./program.ts";
import { EXIT_HUTCH, EXIT_OUTPUT_CLOSED, exitCodeOf, formatError, Interrupted } from "./report.ts";
import { openRuntime } from "./session.ts";

/**
 * Runs a command line and gives its exit code: the box's command's own, or 125 when hutch failed,
 * 126 when the command can't be executed, 127 when it isn't there.
 *
 * @example As a program
 * ```ts
 * import { main } from "./main.ts";
 * console.log(await main(["version"])); // 0
 * ```
 */
export async function main(args: readonly string[], io: CliIo = Deno): Promise<number> {
  let debug = false;
  try {
    const parsed = await parseCommandLine(args.length === 0 ? ["--help"] : args, {
      columns: columnsOf(),
    });
    if (parsed.kind === "text") {
      await print(io.stdout, parsed.text);
      return 0;
    }
    const { command, module, globals } = parsed;
    debug = globals.debug;
    return await module.run({
      command,
      args: parsed.args,
      globals,
      io,
      open: () => openRuntime(globals, io),
    });
  } catch (error) {
    return await report(error, io, debug);
  }
}

async function report(error: unknown, io: CliIo, debug: boolean): Promise<number> {
  if (error instanceof OutputClosed) return EXIT_OUTPUT_CLOSED;
  try {
    // Who pressed Ctrl-C knows.
    if (!(error instanceof Interrupted) || debug) {
      await print(io.stderr, formatError(error, { debug }));
    }
  } catch {
    // Nowhere to say it: the exit code has to do.
  }
  return exitCodeOf(error);
}

function columnsOf(): number {
  try {
    return Deno.stdout.isTerminal() ? Deno.consoleSize().columns || 80 : 80;
  } catch {
    return 80;
  }
}

/** Reports what no `catch` got, and ends: going on could only make it worse. */
function onUncaught(error: unknown): void {
  const debug = Deno.args.includes("--debug") || Deno.env.get("HUTCH_DEBUG") === "1";
  const text = new TextEncoder().encode(formatError(error, { debug }));
  try {
    Deno.stderr.writeSync(text);
  } finally {
    Deno.exit(EXIT_HUTCH);
  }
}

if (import.meta.main) {
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    onUncaught(event.reason);
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    onUncaught(event.error);
  });
  // Not by running out of work: a read of standard input may still wait.
  Deno.exit(await main(Deno.args));
}
