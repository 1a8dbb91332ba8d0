/**
 * A box's life: which operation is legal in which state, and where it leads.
 *
 *                configured starting running pausing paused  stopping stopped failed  crashed
 *     start      running    …        ·       …       -       …        running running running
 *     exec       running    …        ·       …       -       …        running running running
 *     attach     -          …        ·       …       -       …        -       -       -
 *     pause      -          …        paused  …       ·       …        -       -       -
 *     resume     -          …        ·       …       running …        -       -       -
 *     stop       ·          …        stopped …       stopped …        ·       ·       ·
 *     kill       ·          failed   stopped stopped stopped stopped  ·       ·       ·
 *     restart    running    …        running …       running …        running running running
 *     publish    -          …        ·       …       ·       …        -       -       -
 *     export     ·          …        ·       …       ·       …        ·       ·       ·
 *     commit     ·          …        ·       …       ·       …        ·       ·       ·
 *     quiesce    ·          …        ·       …       ·       …        ·       ·       ·
 *     snapshot   ·          …        ·       …       ·       …        ·       ·       ·
 *     clone      ·          …        ·       …       ·       …        ·       ·       ·
 *     restore    ·          …        -       …       -       …        ·       ·       ·
 *     wait       ·          ·        ·       ·       ·       ·        ·       ·       ·
 *     rename     ·          ·        ·       ·       ·       ·        ·       ·       ·
 *     update     ·          ·        ·       ·       ·       ·        ·       ·       ·
 *     remove     removed    …        force   …       force   …        removed removed removed
 *     create     -          -        -       -       -       -        -       -       -
 *
 * `·` is legal and changes no state, `-` is refused, `…` waits for whoever is at work on the box
 * and then looks again. `force` is refused unless it is forced, which ends the box first; forced,
 * `remove` doesn't wait either. `create` is there for a name that a box in that state has.
 *
 * Between `configured` and `running` a box is `starting`, and a start that doesn't get there
 * leaves it `failed`. On the way to `paused` it is `pausing`, on the way to `stopped` `stopping`. A
 * box that ends by itself is `stopped` or `crashed`: see {@link NEXT}.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { BoxConfig, BoxStatus } from "./options.ts";

/** What can be done with a box. */
export type BoxOperation =
  | "create"
  | "start"
  | "attach"
  | "exec"
  | "stop"
  | "kill"
  | "restart"
  | "pause"
  | "resume"
  | "publish"
  | "export"
  | "commit"
  | "quiesce"
  | "snapshot"
  | "clone"
  | "restore"
  | "wait"
  | "remove"
  | "rename"
  | "update";

/** What an operation does in a state. */
export type Step =
  /** Leads there. */
  | { readonly to: BoxStatus | "removed"; readonly force?: string }
  /** Legal, and leaves the state as it is. */
  | "stays"
  /** Somebody is at work on the box: waits for them, then looks again. */
  | "waits"
  /** Illegal; what would help, with NAME for the box's name. */
  | { readonly refused: string };

type Row = Readonly<Record<BoxStatus, Step>>;

const STAYS: Row = {
  configured: "stays",
  starting: "stays",
  running: "stays",
  pausing: "stays",
  paused: "stays",
  stopping: "stays",
  stopped: "stays",
  failed: "stays",
  crashed: "stays",
};
/** States in which somebody is at work on the box. */
const BUSY = { starting: "waits", pausing: "waits", stopping: "waits" } as const;
const WAITS_FOR_OTHERS: Row = { ...STAYS, ...BUSY };
const RUNNING = { to: "running" } as const;
const STOPPED = { to: "stopped" } as const;
const REMOVED = { to: "removed" } as const;
const START_IT = { refused: "start it first (hutch start NAME)" } as const;
const RESUME_IT = { refused: "resume it first (hutch resume NAME)" } as const;
const STOP_IT = {
  refused: "stop it first (hutch stop NAME), or let it be stopped (--stop)",
} as const;
const FORCE_IT = {
  to: "removed",
  force: "stop it first, or use force (hutch rm -f NAME)",
} as const;
const TAKEN = {
  refused:
    "remove that box (hutch rm NAME), start it (hutch start NAME), replace it (--replace), or choose another name",
} as const;

const BOOTS: Row = {
  ...BUSY,
  configured: RUNNING,
  running: "stays",
  paused: RESUME_IT,
  stopped: RUNNING,
  failed: RUNNING,
  crashed: RUNNING,
};
const NEEDS_RUNNING = {
  ...BUSY,
  configured: START_IT,
  stopped: START_IT,
  failed: START_IT,
  crashed: START_IT,
} as const;

/** Every operation in every state; drawn above. */
export const OPERATIONS: Readonly<Record<BoxOperation, Row>> = {
  start: BOOTS,
  exec: BOOTS,
  attach: { ...NEEDS_RUNNING, running: "stays", paused: RESUME_IT },
  pause: { ...NEEDS_RUNNING, running: { to: "paused" }, paused: "stays" },
  resume: { ...NEEDS_RUNNING, running: "stays", paused: RUNNING },
  stop: { ...STAYS, ...BUSY, running: STOPPED, paused: STOPPED },
  kill: {
    ...STAYS,
    starting: { to: "failed" },
    running: STOPPED,
    pausing: STOPPED,
    paused: STOPPED,
    stopping: STOPPED,
  },
  restart: { ...BOOTS, running: RUNNING, paused: RUNNING },
  publish: { ...NEEDS_RUNNING, running: "stays", paused: "stays" },
  export: { ...STAYS, ...BUSY },
  commit: { ...STAYS, ...BUSY },
  quiesce: WAITS_FOR_OTHERS,
  snapshot: WAITS_FOR_OTHERS,
  clone: WAITS_FOR_OTHERS,
  restore: { ...WAITS_FOR_OTHERS, running: STOP_IT, paused: STOP_IT },
  wait: STAYS,
  rename: STAYS,
  update: STAYS,
  remove: {
    ...BUSY,
    configured: REMOVED,
    running: FORCE_IT,
    paused: FORCE_IT,
    stopped: REMOVED,
    failed: REMOVED,
    crashed: REMOVED,
  },
  create: {
    configured: TAKEN,
    starting: TAKEN,
    running: TAKEN,
    pausing: TAKEN,
    paused: TAKEN,
    stopping: TAKEN,
    stopped: TAKEN,
    failed: TAKEN,
    crashed: TAKEN,
  },
};

/**
 * The states that can follow each state, whoever brings it about: an operation, the end of a
 * machine, or the next program to look after one that died half way (`pausing` and `stopping` end
 * as what the machine is).
 */
export const NEXT: Readonly<Record<BoxStatus, readonly BoxStatus[]>> = {
  configured: ["starting"],
  starting: ["running", "failed"],
  running: ["pausing", "stopping", "stopped", "crashed"],
  pausing: ["paused", "running", "stopped", "crashed"],
  paused: ["running", "stopping", "stopped", "crashed"],
  stopping: ["running", "paused", "stopped", "crashed"],
  stopped: ["starting"],
  failed: ["starting"],
  crashed: ["starting"],
};

/**
 * What an operation does with a box now.
 *
 * @throws HutchError `box_state` that names the state and what would help (`name_taken` for
 * `create`).
 */
export function stepOf(
  operation: BoxOperation,
  { config, state }: {
    readonly config: Pick<BoxConfig, "name">;
    readonly state: { readonly status: BoxStatus };
  },
  options: { readonly force?: boolean } = {},
): Exclude<Step, { readonly refused: string }> {
  const step = OPERATIONS[operation][state.status];
  if (typeof step === "string") return step;
  if ("refused" in step) throw refusal(operation, config.name, state.status, step.refused);
  if (step.force === undefined || options.force) return step;
  throw refusal(operation, config.name, state.status, step.force);
}

/** Throws unless a box's record may go from one state to another: that would be a fault of ours. */
export function assertNext(from: BoxStatus, to: BoxStatus): void {
  if (from === to || NEXT[from].includes(to)) return;
  throw new Error(`A box can't go from ${from} to ${to}`);
}

function refusal(
  operation: BoxOperation,
  name: string,
  status: BoxStatus,
  hint: string,
): HutchError {
  const options = { hint: hint.replaceAll("NAME", () => name) };
  if (operation === "create") {
    return new HutchError("name_taken", `Cannot create box "${name}": the name is taken`, options);
  }
  const phrases: Partial<Record<BoxOperation, string>> = {
    exec: "run a command in",
    publish: "change the ports of",
    snapshot: "take a snapshot of",
    restore: "restore a snapshot of",
  };
  const what = phrases[operation] ?? operation;
  return new HutchError("box_state", `Cannot ${what} box "${name}": it is ${status}`, options);
}
