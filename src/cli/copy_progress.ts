/**
 * How a copy goes, on a terminal.
 *
 * @module
 */
import type { Copy } from "../box/copy.ts";
import type { CopyProgress, CopyResult } from "../box/copy_options.ts";
import { formatBytes, printable } from "./format.ts";
import type { CliIo } from "./io.ts";
import { progressMode } from "./progress_mode.ts";
import { TerminalView } from "./progress_terminal.ts";

/** Time between two drawings, in `ms`; a copy that takes less shows its outcome alone. */
const FRAME_MS = 120;
const COLUMNS = 80;

/** Waits for a copy's end; on a terminal, shows on standard error how far it is. */
export async function watchCopy(
  copy: Copy,
  { stderr }: Pick<CliIo, "stderr">,
  { quiet = false }: { readonly quiet?: boolean },
): Promise<void> {
  const env = (name: string) => Deno.env.get(name);
  const mode = progressMode({ quiet }, { sink: stderr, env, elsewhere: "none" });
  if (mode !== "tty") return void await copy;
  const view = await TerminalView.open(stderr, sizeOf);
  let outcome = "";
  try {
    let drawn = performance.now();
    for await (const progress of copy) {
      const now = performance.now();
      if (now - drawn < FRAME_MS || view.isBusy) continue;
      drawn = now;
      view.draw([progressLine(progress, sizeOf().columns)]);
    }
    outcome = `${outcomeLine(await copy)}\n`;
  } finally {
    await view.close(outcome);
  }
}

/** Narrower than the terminal, since some wrap when the last column is written. */
export function progressLine({ path, entries, bytes }: CopyProgress, columns: number): string {
  const head = `${amount(entries, bytes)}  `;
  return (head + (path === "." ? "" : printable(path))).slice(0, Math.max(columns - 1, 1))
    .trimEnd();
}

/** What a copy came to, in one line. */
export function outcomeLine({ entries, bytes, skipped }: CopyResult): string {
  const left = skipped === 0 ? "" : `; ${skipped} socket${skipped === 1 ? "" : "s"} left out`;
  return `Copied ${amount(entries, bytes)}${left}`;
}

function amount(entries: number, bytes: number): string {
  const count = entries === 0 ? "" : `${entries} ${entries === 1 ? "entry" : "entries"}, `;
  return `${count}${formatBytes(bytes)}`;
}

function sizeOf(): { columns: number; rows: number } {
  try {
    const { columns, rows } = Deno.consoleSize();
    return { columns: columns || COLUMNS, rows: rows || 24 };
  } catch {
    return { columns: COLUMNS, rows: 24 };
  }
}
