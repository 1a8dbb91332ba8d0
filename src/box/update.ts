/**
 * Changing a box's configuration: each change is a new version of it, written in one transaction.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { ACTIVE, type BoxRecord } from "../state/boxes.ts";
import { removed } from "./change.ts";
import { checkName, checkOptions, healthOf } from "./config.ts";
import type { BoxContext } from "./context.ts";
import { holdBox } from "./hold.ts";
import type { BoxConfig, BoxOptions, HealthCheck } from "./options.ts";
import { stepOf } from "./transitions.ts";

/** What {@link Box.update} can change; what isn't named stays. */
export interface BoxUpdate
  extends Pick<BoxOptions, "cpus" | "memory" | "bootTimeoutMs" | "restart"> {
  /** Sets these labels; null takes one away. */
  readonly labels?: Readonly<Record<string, string | null>>;
  /** In `ms`; null for never. */
  readonly maxDurationMs?: number | null;
  /** In `ms`; null for never. */
  readonly idleTimeoutMs?: number | null;
  /** Replaces the check; null for none. */
  readonly health?: HealthCheck | null;
}

/** What counts from a box's next start on, and so can't change while it runs. */
const FIXED_BY_START = [
  "cpus",
  "memory",
  "maxDurationMs",
  "idleTimeoutMs",
  "restart",
  "health",
] as const satisfies (keyof BoxUpdate)[];

/**
 * Updates a box's configuration.
 *
 * @throws HutchError `invalid_option`, `box_not_found`, `box_state` for what can't change while the
 * box runs.
 */
export async function updateBox(
  context: BoxContext,
  id: string,
  update: BoxUpdate,
): Promise<BoxRecord> {
  const change = changeOf(update);
  const fixed = FIXED_BY_START.filter((name) => update[name] !== undefined);
  if (fixed.length === 0) {
    return reconfigure(context, id, (record) => {
      stepOf("update", record);
      return change(record.config);
    });
  }
  using held = await holdBox(context, id, "update"); // nobody starts it meanwhile
  const { config, state } = held.record;
  if (ACTIVE.includes(state.status)) {
    throw new HutchError(
      "box_state",
      `Cannot change ${fixed.join(", ")} of box "${config.name}": it is ${state.status}`,
      { hint: `stop it first (hutch stop ${config.name}): it counts from the next start on` },
    );
  }
  return reconfigure(context, id, ({ config }) => change(config));
}

/**
 * Gives a box another name. Its host name stays.
 *
 * @throws HutchError `invalid_option`, `box_not_found`, `name_taken`.
 */
export function renameBox(context: BoxContext, id: string, name: string): BoxRecord {
  checkName(name);
  return reconfigure(context, id, (record) => {
    stepOf("rename", record);
    return { ...record.config, name };
  });
}

function reconfigure(
  { records }: BoxContext,
  id: string,
  change: (record: BoxRecord) => BoxConfig,
): BoxRecord {
  try {
    const record = records.reconfigure(id, change);
    if (record) return record;
  } catch (error) {
    // Its folder is out of the way already, and its record about to go.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  throw removed(id);
}

/** Checks an update as if a box was made with it. */
function changeOf(update: BoxUpdate): (config: BoxConfig) => BoxConfig {
  const labels = Object.entries(update.labels ?? {});
  const { cpus, memory, bootTimeoutMs, maxDurationMs, idleTimeoutMs, restart, health } = update;
  const checked = checkOptions({
    image: "",
    labels: Object.fromEntries(labels.map(([key, value]) => [key, value ?? ""])),
    ...(cpus === undefined ? {} : { cpus }),
    ...(memory === undefined ? {} : { memory }),
    ...(bootTimeoutMs === undefined ? {} : { bootTimeoutMs }),
    ...(typeof maxDurationMs === "number" ? { maxDurationMs } : {}),
    ...(typeof idleTimeoutMs === "number" ? { idleTimeoutMs } : {}),
    ...(restart === undefined ? {} : { restart }),
    ...(health ? { health } : {}),
  });
  return (config) => ({
    ...config,
    labels: Object.fromEntries([
      ...Object.entries(config.labels).filter(([key]) => !labels.some(([name]) => name === key)),
      ...labels.flatMap(([key, value]) => value === null ? [] : [[key, value] as const]),
    ]),
    ...(cpus === undefined ? {} : { cpus: checked.cpus }),
    ...(memory === undefined ? {} : { memoryMiB: checked.memoryMiB }),
    ...(bootTimeoutMs === undefined ? {} : { bootTimeoutMs }),
    ...(maxDurationMs === undefined ? {} : { maxDurationMs }),
    ...(idleTimeoutMs === undefined ? {} : { idleTimeoutMs }),
    ...(restart === undefined ? {} : { restart }),
    ...(health === undefined ? {} : { health: healthOf(health) }),
  });
}
