/**
 * How far something is that is counted in bytes, on a terminal.
 *
 * @module
 */
import { formatBytes } from "./format.ts";
import type { CliIo } from "./io.ts";
import { progressMode } from "./progress_mode.ts";
import { TerminalView } from "./progress_terminal.ts";

/** Time between two drawings, in `ms`; what takes less shows its outcome alone. */
const FRAME_MS = 120;
const SIZE = { columns: 80, rows: 24 };

/** How far it is. */
export interface ByteProgress {
  /** Bytes done. */
  readonly done: number;
  /** Of so many, where that is known. */
  readonly total?: number;
}

/** Does something; on a terminal, shows on standard error how far it is and what it came to. */
export async function withByteProgress<T>(
  { stderr }: Pick<CliIo, "stderr">,
  { quiet = false, verb, outcome }: {
    readonly quiet?: boolean | undefined;
    /** Such as `Pushing`. */
    readonly verb: string;
    readonly outcome: (result: T) => string;
  },
  work: (onProgress: (progress: ByteProgress) => void) => Promise<T>,
): Promise<T> {
  const env = (name: string) => Deno.env.get(name);
  const mode = progressMode({ quiet }, { sink: stderr, env, elsewhere: "none" });
  if (mode !== "tty") return await work(() => {});
  const view = await TerminalView.open(stderr, sizeOf);
  let told = "";
  try {
    let drawn = performance.now();
    const result = await work((progress) => {
      const now = performance.now();
      if (now - drawn < FRAME_MS || view.isBusy) return;
      drawn = now;
      view.draw([progressLine(verb, progress).slice(0, Math.max(sizeOf().columns - 1, 1))]);
    });
    told = `${outcome(result)}\n`;
    return result;
  } finally {
    await view.close(told);
  }
}

/** Such as `Pushing  12 MiB of 40 MiB`. */
export function progressLine(verb: string, { done, total }: ByteProgress): string {
  const of = total === undefined ? "" : ` of ${formatBytes(total)}`;
  return `${verb}  ${formatBytes(done)}${of}`;
}

function sizeOf(): { readonly columns: number; readonly rows: number } {
  try {
    const { columns, rows } = Deno.consoleSize();
    return { columns: columns || SIZE.columns, rows: rows || SIZE.rows };
  } catch {
    return SIZE;
  }
}
