/**
 * `hutch executions`.
 *
 * @module
 */
import type { ExecutionInfo } from "../box/box_execution.ts";
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { formatDuration, formatTable } from "./format.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { getBox } from "./session.ts";

interface Flags {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .option("-q, --quiet", "ids alone")
    .option("--json", "an array with all that is known");
}

/** Lists a box's main command and what was started with `hutch exec -d`, ended ones too. */
export async function run({ command, args: [word = ""], io, open }: Invocation): Promise<number> {
  const flags = command.opts<Flags>();
  await using runtime = await open();
  const list = await (await getBox(runtime, word)).executions();
  if (flags.json) await printJson(io.stdout, "executions", list);
  else if (flags.quiet) await print(io.stdout, list.map(({ id }) => `${id}\n`).join(""));
  else await print(io.stdout, formatExecutions(list, Date.now()));
  return 0;
}

/** The table, as seen at `now` (`ms` since 1970). */
export function formatExecutions(list: readonly ExecutionInfo[], now: number): string {
  return formatTable(
    ["ID", "STATUS", "COMMAND"],
    list.map((each) => [each.id, statusText(each, now), each.command.join(" ")]),
  );
}

function statusText({ startedAt, endedAt, status }: ExecutionInfo, now: number): string {
  const age = (since: string) => formatDuration(now - Date.parse(since));
  if (endedAt === null || !status) return `running ${age(startedAt)}`;
  return `ended (${status.code}) ${age(endedAt)} ago`;
}
