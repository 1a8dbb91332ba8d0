/**
 * `hutch push`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { PushReport } from "../images/manage/push.ts";
import type { PushEvent } from "../images/source.ts";
import { withByteProgress } from "./byte_progress.ts";
import type { Invocation } from "./command.ts";
import { shortReference } from "./format.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { relaySignals } from "./session.ts";

interface Flags {
  readonly quiet?: boolean;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] IMAGE [DEST]")
    .argument("<IMAGE>", "name, digest or unique beginning of a digest")
    .argument("[DEST]", "where to, such as registry.example/team/app:1 (default: IMAGE)")
    .option("-q, --quiet", "don't show how it goes")
    .option("--json", "an object with what was done");
}

/** Brings an image to a registry, and prints its digest. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [image = "", to], io, open } = invocation;
  const { quiet, json } = command.opts<Flags>();
  using signals = relaySignals(io);
  await using runtime = await open();
  try {
    const report = await withByteProgress(io, {
      quiet,
      verb: "Pushing",
      outcome: ({ reference, blobs }: PushReport) => {
        const { sent, mounted, there } = blobs;
        return `Pushed ${shortReference(reference)}: ${sent} sent, ${
          there + mounted
        } there already`;
      },
    }, (onProgress) =>
      runtime.images.push(image, {
        signal: signals.signal,
        onProgress: summing(onProgress),
        ...to === undefined ? {} : { to },
      }));
    if (json) await printJson(io.stdout, "push", report);
    else await print(io.stdout, `${report.digest}\n`);
    return 0;
  } catch (error) {
    throw signals.explain(error);
  }
}

/** Adds up what is told of each blob. */
function summing(
  tell: (progress: { readonly done: number; readonly total: number }) => void,
): (event: PushEvent) => void {
  const blobs = new Map<string, PushEvent>();
  return (event) => {
    blobs.set(event.digest, event);
    let [done, total] = [0, 0];
    for (const { bytes, size } of blobs.values()) {
      done += bytes;
      total += size;
    }
    tell({ done, total });
  };
}
