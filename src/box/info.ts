/**
 * What programs see of a box's record.
 *
 * @module
 */
import { ACTIVE, type BoxRecord } from "../state/boxes.ts";
import type { Keeping } from "../state/keepings.ts";
import type { BoxInfo } from "./options.ts";

/** Where a list's box has its record: nobody sees it among the properties. */
const RECORD = Symbol("record");

/** A box without its configuration. */
type Part = Omit<BoxInfo, "config"> & { readonly [RECORD]?: BoxRecord };

/** One getter for all: ten thousand of their own take longer than what they save. */
const CONFIG: PropertyDescriptor = {
  enumerable: true,
  get(this: Part) {
    return this[RECORD]?.config;
  },
};

/** A record in the shape that programs see. */
export function infoOf(record: BoxRecord, keeping: Keeping): BoxInfo {
  return { ...partOf(record, keeping), config: record.config };
}

/** The same, with a configuration that is parsed when it is first asked for; copies are as usual. */
export function listedOf(record: BoxRecord, keeping: Keeping): BoxInfo {
  const info = partOf(record, keeping);
  addConfig(info, record);
  return info;
}

function addConfig(part: Part, record: BoxRecord): asserts part is BoxInfo {
  Object.defineProperty(part, RECORD, { value: record });
  Object.defineProperty(part, "config", CONFIG);
}

function partOf({ id, name, state }: BoxRecord, keeping: Keeping): Part {
  return {
    id,
    name,
    status: state.status,
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
