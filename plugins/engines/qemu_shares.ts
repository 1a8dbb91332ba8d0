/**
 * Serves the host's folders to machines on QEMU, by virtiofsd; loaded by the box process alone.
 *
 * The one command line is understood by both virtiofsd of this world: QEMU's own in C (up to 7.2,
 * the one that hutch is tested with) and its successor in Rust, which takes the old one's options.
 *
 * @module
 */
import type { EngineParts, MachineShares, RunnerProcess } from "../../mod.ts";

/** How a virtiofsd ended. */
export interface FileServerEnd {
  /** By itself, with another code than 0. */
  readonly failed: boolean;
  /** That it ended, and how, with the last that it said. */
  readonly words: string;
}

/** A virtiofsd that runs. */
export interface FileServer {
  readonly exited: Promise<FileServerEnd>;
  /** Ends it at once; idempotent. */
  kill(): void;
}

/**
 * Starts virtiofsd and waits until its socket listens. It dies with the box process.
 *
 * @throws Error with its words when it doesn't come so far.
 */
export async function serveShares(
  shares: MachineShares,
  engine: EngineParts,
  spawn: RunnerProcess["spawn"],
): Promise<FileServer> {
  const { share = "", virtiofsd = "" } = engine;
  if (virtiofsd === "") {
    throw new Error("virtiofsd, which volumes need on QEMU, is missing (hutch doctor tells more)");
  }
  // A path could have a comma, which options end at.
  const options = "source=/proc/self/fd/4/.,sandbox=chroot,cache=auto,announce_submounts";
  const child = await spawn({
    command: [share, "listen", shares.socketPath, "--", virtiofsd, "--fd=3", "-o", options],
    folder: shares.folder,
    asked: true,
  });
  const exited = (async () => {
    const { code, signal, output } = await child.ended;
    const how = signal ?? `code ${code}`;
    const words = `virtiofsd, which serves its volumes, ended with ${how}`;
    return {
      failed: code !== 0 && !signal,
      words: output === "" ? words : `${words}: ${output}`,
    };
  })();
  if (await child.ask() === undefined) throw new Error((await exited).words);
  return { exited, kill: () => child.kill() };
}
