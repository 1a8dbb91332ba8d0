/**
 * What programs see of a box's record.
 *
 * @module
 */
import { ACTIVE, type BoxRecord } from "../state/boxes.ts";
import type { Keeping } from "../state/keepings.ts";
import type { BoxInfo } from "./options.ts";

/** A record in the shape that programs see. */
export function infoOf({ config, state }: BoxRecord, keeping: Keeping): BoxInfo {
  return {
    id: config.id,
    name: config.name,
    status: state.status,
    config,
    pid: state.pid,
    engine: state.engine,
    startedAt: state.startedAt,
    stoppedAt: state.stoppedAt,
    reason: state.reason,
    exitCode: state.exitCode,
    health: ACTIVE.includes(state.status) ? keeping.health : "none",
    restarts: keeping.restarts,
    restartedAt: keeping.restartedAt,
    ports: ACTIVE.includes(state.status) ? state.ports : [],
    stage: state.stage,
    stages: state.stages,
  };
}
