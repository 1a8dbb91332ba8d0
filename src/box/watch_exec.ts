/**
 * Tells of commands: that they started, how they ended.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import type { BoxContext } from "./context.ts";
import type { ExecStatus } from "./exec_options.ts";
import type { BoxConfig } from "./options.ts";

/** One command, from being asked for to its end. */
export interface ExecWatch {
  /** It runs, and will end as `status` says. */
  started(status: Promise<ExecStatus>): void;
  /** It couldn't be run. */
  failed(error: unknown): void;
}

/** Begins to watch a command of a box. */
export function watchExec(
  { plugins }: BoxContext,
  { id, name }: BoxConfig,
  { argv, user, detached }: {
    readonly argv: readonly string[];
    readonly user: string;
    /** Its id, if it goes on when this program lets go of it. */
    readonly detached?: string;
  },
): ExecWatch {
  const from = performance.now();
  const execution = detached ?? crypto.randomUUID();
  const about = { box: id, name, execution, command: argv };
  const exited = (end: { code?: number; signal?: string | null; error?: string }) =>
    plugins.emit("exec.exited", {
      ...about,
      code: end.code ?? null,
      signal: end.signal ?? null,
      error: end.error ?? null,
      ms: Math.round((performance.now() - from) * 10) / 10,
    });
  return {
    started(status) {
      plugins.emit("exec.started", { ...about, user });
      status.then(
        ({ code, signal }) => exited({ code, signal }),
        (error: unknown) => {
          const letGo = error instanceof HutchError && error.code === "cancelled";
          if (detached === undefined || !letGo) exited({ error: errorText(error) });
        },
      );
    },
    failed(error) {
      exited({ error: errorText(error) });
    },
  };
}
