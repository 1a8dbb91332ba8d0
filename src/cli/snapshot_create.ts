/**
 * `hutch snapshot create`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { getBox, relaySignals } from "./session.ts";
import { collect, parseLabels } from "./values.ts";

interface Flags {
  readonly label?: readonly string[];
  readonly consistent?: boolean;
  readonly memory?: boolean;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX [NAME]")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("[NAME]", "the snapshot's name (default: the time)")
    .option("-l, --label <KEY=VALUE>", "label of the snapshot (repeatable)", collect)
    .option("--consistent", "fail unless the box's file systems can be frozen")
    .option(
      "--memory",
      "keep its memory too, for hutch run --from BOX/NAME; all that is in it is on the disk then",
    )
    .option("--json", "an object with all that is known");
}

/** Takes a snapshot and prints its name; says so where it is as if the power had been cut. */
export async function run({ command, args: [word = "", given], io, open }: Invocation) {
  const { label = [], consistent, memory = false, json } = command.opts<Flags>();
  const labels = parseLabels(label, "--label");
  const name = given ?? new Date().toISOString().replaceAll(":", "-");
  using signals = relaySignals(io);
  await using runtime = await open();
  const box = await getBox(runtime, word);
  const consistency = consistent ? "required" : "best";
  const options = { labels, consistency, memory, signal: signals.signal } as const;
  const snapshot = await box.snapshots.create(name, options).catch((error: unknown) => {
    throw signals.explain(error);
  });
  if (json) await printJson(io.stdout, "snapshot create", snapshot);
  else await print(io.stdout, `${snapshot.name}\n`);
  if (snapshot.reason !== null) {
    await print(io.stderr, `hutch: its file systems weren't frozen: ${snapshot.reason}\n`);
  }
  return 0;
}
