/**
 * `hutch clone`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { getBox } from "./session.ts";
import { collect, parseCount, parseLabels } from "./values.ts";

interface Flags {
  readonly count?: string;
  readonly snapshot?: string;
  readonly start?: boolean;
  readonly label?: readonly string[];
  readonly consistent?: boolean;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX [NAME]")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("[NAME]", "name of the clone; of several NAME-1, NAME-2 … (default: made up)")
    .option("-n, --count <N>", "how many (default: 1)")
    .option("--snapshot <SNAPSHOT>", "what one of its snapshots has (default: the box as it is)")
    .option("--start", "start the clones")
    .option("-l, --label <KEY=VALUE>", "label in place of the box's (repeatable)", collect)
    .option("--consistent", "fail unless the box's file systems can be frozen")
    .option("--json", "an array of all that is known of them");
}

/** Makes clones and prints their names. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = "", name], io, open } = invocation;
  const { count, snapshot, start, label, consistent, json } = command.opts<Flags>();
  const options = {
    detached: true,
    start: start === true,
    consistency: consistent ? "required" as const : "best" as const,
    ...name === undefined ? {} : { name },
    ...count === undefined ? {} : { count: parseCount(count, "--count") },
    ...snapshot === undefined ? {} : { snapshot },
    ...label === undefined ? {} : { labels: parseLabels(label, "--label") },
  };
  await using runtime = await open();
  const clones = await (await getBox(runtime, word)).clone(options);
  if (json) {
    await printJson(
      io.stdout,
      "clone",
      await Promise.all(clones.map((clone) => clone.info())),
    );
  } else await print(io.stdout, clones.map((clone) => `${clone.name}\n`).join(""));
  return 0;
}
