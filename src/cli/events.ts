/**
 * `hutch events`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Events } from "../plugin/contract.ts";
import { EVENT_TYPES, isEventType } from "../plugin/check.ts";
import type { EventGap } from "../runtime/events.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { RecordedEvent } from "../state/events.ts";
import { nearest } from "../suggest.ts";
import type { Invocation } from "./command.ts";
import { printable } from "./format.ts";
import { print } from "./io.ts";
import { printJsonLine } from "./json.ts";
import { relaySignals, withRuntime } from "./session.ts";
import { pause } from "./signals.ts";
import { collect, parseMoment } from "./values.ts";

interface Flags {
  readonly since?: Date;
  readonly until?: Date;
  readonly type?: readonly string[];
  readonly box?: string;
  readonly follow?: boolean;
  readonly json?: boolean;
}

/** Widths of the columns that every line has. */
const TYPE_WIDTH = 14;
const NAME_WIDTH = 12;
/** How often boxes are looked at, in `ms`. */
const LOOK_MS = 1_000;

/** Declares arguments and options. */
export function define(command: Command): void {
  const moment = (option: string) => (text: string) => parseMoment(text, option);
  command
    .option("--since <TIME>", "past events first: from a time, or 10m ago", moment("--since"))
    .option("--until <TIME>", "end with those up to a time, or now", moment("--until"))
    .option("--type <TYPE>", "only events of this type (repeatable)", collect)
    .option("--box <BOX>", "only events about this box")
    .option("-f, --follow", "go on with what happens from now on (default)")
    .option("--no-follow", "past events alone: all that are kept, or those --since")
    .option("--json", "a JSON document per line");
}

/** Prints events until Ctrl-C, or until there are no more. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, io } = invocation;
  const flags = command.opts<Flags>();
  const types = flags.type?.map(eventType);
  return await withRuntime(invocation, async (runtime) => {
    using signals = relaySignals(io);
    const follow = flags.follow !== false;
    const past = !follow || (flags.until !== undefined && flags.until.getTime() <= Date.now());
    const since = flags.since ?? (past ? new Date(0) : undefined);
    const events = runtime.events({
      signal: signals.signal,
      follow,
      ...since ? { since } : {},
      ...flags.until ? { until: flags.until } : {},
      ...types ? { types } : {},
      ...flags.box === undefined ? {} : { box: flags.box },
    });
    await using _looking = follow ? lookAround(runtime) : undefined;
    for await (const event of events) {
      if (flags.json) await printJsonLine(io.stdout, "events (line)", event);
      else await print(io.stdout, formatEvent(event));
    }
    signals.throwUnlessCtrlC();
    return 0;
  });
}

/** A box that no program holds ends unheard: whoever looks is who tells. */
function lookAround(runtime: Runtime): AsyncDisposable {
  const over = new AbortController();
  const looking = (async () => {
    while (!over.signal.aborted) {
      await runtime.list();
      await pause(LOOK_MS, over.signal);
    }
  })().catch(() => {}); // what keeps it from looking keeps the events away too, and they say so
  return {
    async [Symbol.asyncDispose]() {
      over.abort();
      await looking;
    },
  };
}

function eventType(text: string): keyof Events {
  if (isEventType(text)) return text;
  const near = nearest(text, EVENT_TYPES);
  throw new HutchError(
    "invalid_option",
    `Cannot read --type: ${JSON.stringify(text)} is not a type of event`,
    {
      hint: near === undefined
        ? `take one of ${EVENT_TYPES.join(", ")}`
        : `did you mean ${JSON.stringify(near)}?`,
    },
  );
}

/** An event on one line: time, type, box, and what else it says. */
export function formatEvent(event: RecordedEvent | EventGap): string {
  const name = "name" in event ? event.name : "";
  const more: string[] = [];
  for (const [key, value] of Object.entries(event)) {
    if (value === null || ["at", "box", "name", "seq", "type"].includes(key)) continue;
    more.push(`${key}=${textOf(value)}`);
  }
  const head = `${event.at}  ${event.type.padEnd(TYPE_WIDTH)}  ${
    printable(name).padEnd(NAME_WIDTH)
  }`;
  return `${[head, ...more].join("  ").trimEnd()}\n`;
}

/** A value as it is where that is plain, else as JSON. */
function textOf(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const plain = typeof value !== "string" || /^[^\s"'=]+$/.test(value);
  return printable(plain ? text : JSON.stringify(value));
}
