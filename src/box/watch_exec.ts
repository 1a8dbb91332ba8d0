/**
 * Tells of commands: that they started, how they ended.
 *
 * A detached command outlives the programs that see it. Each end is told once, by whoever sees it first:
 * the program that started the command, one that joins or lists it, or the one that finds its box ended.
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

/** How a command ended; `error` says why there is no code. */
type End = Pick<ExecStatus, "code" | "signal"> | { readonly error: string };
type Context = Pick<BoxContext, "plugins" | "detached" | "log">;

/** Begins to watch a command of a box. */
export function watchExec(
  context: Context,
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
  const exited = (end: End) => tell(context, about, end, performance.now() - from);
  let once = (): boolean => true;
  return {
    started(status) {
      context.plugins.emit("exec.started", { ...about, user });
      if (detached !== undefined) once = begun(context, about);
      const over = (end: End) => {
        if (once()) exited(end);
      };
      status.then(over, (error: unknown) => {
        const letGo = error instanceof HutchError && error.code === "cancelled";
        if (detached === undefined || !letGo) over({ error: errorText(error) });
      });
    },
    failed(error) {
      exited({ error: errorText(error) });
    },
  };
}

/** Tells how a detached command ended, unless somebody has. */
export function tellDetachedEnd(
  context: Context,
  { id, name }: Pick<BoxConfig, "id" | "name">,
  execution: string,
  end: End & {
    /** How long it took, in `ms`. @default {the time since its start, by the wall clock} */
    readonly tookMs?: number;
  },
): void {
  try {
    const known = context.detached.end(execution);
    if (!known) return;
    const { command, startedAt } = known;
    const about = { box: id, name, execution, command };
    const { tookMs = Date.now() - Date.parse(startedAt) } = end;
    tell(context, about, end, Math.max(0, tookMs));
  } catch (error) {
    context.log(`the end of command ${execution}: ${errorText(error)}`);
  }
}

/** Tells the ends of a box's detached commands, which ended with it. */
export function tellDetachedLost(
  context: Context,
  box: Pick<BoxConfig, "id" | "name">,
): void {
  try {
    for (const { execution } of context.detached.of(box.id)) {
      tellDetachedEnd(context, box, execution, { error: "its box ended" });
    }
  } catch (error) {
    context.log(`commands of box "${box.name}": ${errorText(error)}`);
  }
}

/** Notes that a detached command's end is to be told; gives what asks whether it is ours to tell. */
function begun(context: Context, about: About): () => boolean {
  const { box, execution, command } = about;
  try {
    const startedAt = new Date().toISOString();
    context.detached.begin(box, { execution, command, startedAt });
  } catch (error) {
    context.log(`command ${execution}: ${errorText(error)}`); // then nobody else tells its end
    return () => true;
  }
  return () => {
    try {
      return context.detached.end(execution) !== undefined;
    } catch (error) {
      context.log(`the end of command ${execution}: ${errorText(error)}`);
      return true;
    }
  };
}

/** What both of its events say of a command. */
interface About {
  readonly box: string;
  readonly name: string;
  readonly execution: string;
  readonly command: readonly string[];
}

function tell({ plugins }: Context, about: About, end: End, ms: number): void {
  const { code = null, signal = null, error = null } = "error" in end
    ? { error: end.error }
    : { code: end.code, signal: end.signal };
  plugins.emit("exec.exited", { ...about, code, signal, error, ms: Math.round(ms * 10) / 10 });
}
