/**
 * `hutch logs`.
 *
 * @module
 */
import type { LogEntry } from "../box/logs.ts";
import type { Command } from "../deps.ts";
import { MAIN } from "../guest/held_messages.ts";
import type { Invocation } from "./command.ts";
import { print, writeAll } from "./io.ts";
import { type JsonOutput, printJsonLine } from "./json.ts";
import { getBox, relaySignals, withRuntime } from "./session.ts";
import { collect, parseCount, parseMoment } from "./values.ts";

interface Flags {
  readonly follow?: boolean;
  readonly since?: Date;
  readonly until?: Date;
  readonly tail?: number;
  readonly timestamps?: boolean;
  readonly source?: readonly string[];
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  const moment = (option: string) => (text: string) => parseMoment(text, option);
  command.usage("[options] BOX")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .option("-f, --follow", "go on with what comes, until the box has ended for good")
    .option("--since <TIME>", "only from a time on, or 10m ago", moment("--since"))
    .option("--until <TIME>", "only up to a time", moment("--until"))
    .option(
      "-n, --tail <N>",
      "of what is there, only the last N lines (default: all)",
      (text: string) => text === "all" ? undefined : parseCount(text, "--tail"),
    )
    .option("-t, --timestamps", "the time before each line")
    .option(
      "--source <SOURCE>",
      "main, console, or an id of `hutch executions` (repeatable; default: main, or all without one)",
      collect,
    )
    .option("--json", "a JSON document per line");
}

/** Prints what a box's commands said, standard error to standard error. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = ""], io } = invocation;
  const { follow, since, until, tail, timestamps, json, source } = command.opts<Flags>();
  return await withRuntime(invocation, async (runtime) => {
    using signals = relaySignals(io);
    const box = await getBox(runtime, word);
    const wanted = source ?? (box.main ? [MAIN] : undefined);
    const entries = box.logs({
      signal: signals.signal,
      ...follow ? { follow: "run" } : {},
      ...since ? { since } : {},
      ...until ? { until } : {},
      ...tail === undefined ? {} : { tail },
      ...wanted ? { source: wanted } : {},
    });
    const begun = new Set<string>();
    for await (const entry of entries) {
      if (json) await printJsonLine(io.stdout, "logs (line)", jsonOf(entry));
      else {
        const sink = entry.stream === "stderr" ? io.stderr : io.stdout;
        const key = `${entry.stream} ${entry.source}`;
        if (timestamps && !begun.has(key)) await print(sink, `${entry.time.toISOString()} `);
        await writeAll(sink, entry.bytes);
        if (entry.text.endsWith("\n")) begun.delete(key);
        else begun.add(key);
      }
    }
    signals.throwUnlessCtrlC();
    return 0;
  });
}

function jsonOf({ time, source, stream, text }: LogEntry): JsonOutput["logs (line)"] {
  return { time: time.toISOString(), source, stream, text };
}
