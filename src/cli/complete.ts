/**
 * `hutch __complete`: answers the completion scripts. A line per candidate, with a tab before its
 * description; then `:files` or `:folders` when the shell should add its own.
 *
 * @module
 */
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "../deps.ts";
import { defaultHome } from "../runtime/paths.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Invocation } from "./command.ts";
import { type Candidate, complete, type NameSource } from "./completer.ts";
import { printable, shortReference } from "./format.ts";
import { print } from "./io.ts";
import { openRuntime } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.argument("[WORD...]").passThroughOptions();
}

/** Prints candidates. Fails quietly: an error in the middle of a prompt helps nobody. */
export async function run(invocation: Invocation): Promise<number> {
  const { args, io } = invocation;
  const { candidates, paths } = await complete(args, namesOf(invocation));
  let text = candidates.map(({ value, description }) =>
    description === "" ? `${value}\n` : `${value}\t${printable(description)}\n`
  ).join("");
  if (paths) text += `:${paths}\n`;
  await print(io.stdout, text);
  return 0;
}

function namesOf({ globals, io }: Invocation): NameSource {
  async function from(
    typed: string | undefined,
    list: (runtime: Runtime) => Promise<Candidate[]>,
  ): Promise<Candidate[]> {
    const home = typed === undefined ? globals.home ?? defaultHome() : resolve(typed);
    try {
      // Pressing a key doesn't make a home.
      await stat(home);
      // Nor does it run what a configuration holds.
      const quiet = { ...globals, home, plugins: [], config: false, debug: false } as const;
      await using runtime = await openRuntime(quiet, io);
      return await list(runtime);
    } catch {
      return [];
    }
  }
  return {
    boxes: (home) =>
      from(home, async (runtime) => {
        const boxes = await runtime.list({ all: true });
        return boxes.map(({ name, status }) => ({ value: name, description: status }));
      }),
    images: (home) =>
      from(home, async (runtime) => {
        const images = await runtime.images.list();
        return images.map(({ reference }) => ({
          value: shortReference(reference),
          description: "",
        }));
      }),
    snapshots: (home, box) =>
      from(home, async (runtime) => {
        const snapshots = await (await runtime.get(box)).snapshots.list();
        return snapshots.map(({ name, consistency }) => ({
          value: name,
          description: consistency,
        }));
      }),
  };
}
