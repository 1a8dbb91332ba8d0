/**
 * What programs see of a box's record.
 *
 * @module
 */
import { ACTIVE, type BoxRecord } from "../state/boxes.ts";
import type { Keeping } from "../state/keepings.ts";
import type { BoxInfo } from "./options.ts";

/** A record in the shape that programs see. */
export function infoOf(record: BoxRecord, keeping: Keeping): BoxInfo {
  return { ...listedOf(record, keeping) };
}

/** The same, with a configuration that is parsed when it is first asked for; copies are as usual. */
export function listedOf(record: BoxRecord, keeping: Keeping): BoxInfo {
  return new Listed(record, keeping);
}

class Listed implements BoxInfo {
  readonly #record: BoxRecord;
  readonly id: BoxInfo["id"];
  readonly name: BoxInfo["name"];
  readonly status: BoxInfo["status"];
  declare readonly config: BoxInfo["config"];
  readonly pid: BoxInfo["pid"];
  readonly engine: BoxInfo["engine"];
  readonly startedAt: BoxInfo["startedAt"];
  readonly stoppedAt: BoxInfo["stoppedAt"];
  readonly reason: BoxInfo["reason"];
  readonly exitCode: BoxInfo["exitCode"];
  readonly health: BoxInfo["health"];
  readonly restarts: BoxInfo["restarts"];
  readonly restartedAt: BoxInfo["restartedAt"];
  readonly ports: BoxInfo["ports"];
  readonly stage: BoxInfo["stage"];
  readonly stages: BoxInfo["stages"];

  /** A property of each, so that copies have it; one for all, since ten thousand take their time. */
  static readonly #CONFIG: PropertyDescriptor & ThisType<Listed> = {
    enumerable: true,
    get() {
      return this.#record.config;
    },
  };

  constructor(record: BoxRecord, keeping: Keeping) {
    const { id, name, state } = record;
    const active = ACTIVE.includes(state.status);
    this.#record = record;
    this.id = id;
    this.name = name;
    this.status = state.status;
    Object.defineProperty(this, "config", Listed.#CONFIG);
    this.pid = state.pid;
    this.engine = state.engine;
    this.startedAt = state.startedAt;
    this.stoppedAt = state.stoppedAt;
    this.reason = state.reason;
    this.exitCode = state.exitCode;
    this.health = active ? keeping.health : "none";
    this.restarts = keeping.restarts;
    this.restartedAt = keeping.restartedAt;
    this.ports = active ? state.ports : [];
    this.stage = state.stage;
    this.stages = state.stages;
  }
  /** Printed as what it stands for. */
  [Symbol.for("Deno.customInspect")](
    inspect: (value: unknown, options: Deno.InspectOptions) => string,
    options: Deno.InspectOptions,
  ): string {
    return inspect({ ...this }, options);
  }
}
