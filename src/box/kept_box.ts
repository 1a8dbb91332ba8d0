/**
 * A real box, as its keeper gets at it.
 *
 * @module
 */
import { exists } from "../atomic_file.ts";
import { HutchError } from "../errors.ts";
import { GuestClient } from "../guest/client.ts";
import { boxPaths } from "../runtime/paths.ts";
import { ACTIVE, type BoxRecord } from "../state/boxes.ts";
import { readExitFile } from "../vmm/machine_file.ts";
import { changeSeen } from "./change.ts";
import type { BoxContext } from "./context.ts";
import type { HealthChange } from "./health.ts";
import { checkHealth } from "./health_check.ts";
import type { KeeperPort, KeptBox, KeptGuest } from "./keeper.ts";
import { keeperLockPath } from "./keeper_lock.ts";
import { talkToNetwork } from "./network_talk.ts";
import { reconcile } from "./reconcile.ts";

/** How long a guest that runs may take to say hello, in `ms`. */
const HELLO_MS = 10_000;

/** The port of a box's keeper. */
export class KeptRealBox implements KeeperPort {
  readonly #context: BoxContext;
  readonly #id: string;
  readonly #restarting: (on: boolean) => void;
  #lastLine = "";

  /** For the box with this id; `restarting` is told around a restart. */
  constructor(context: BoxContext, id: string, restarting: (on: boolean) => void) {
    this.#context = context;
    this.#id = id;
    this.#restarting = restarting;
  }

  async look(): Promise<KeptBox | undefined> {
    const { keepings, paths } = this.#context;
    const own = boxPaths(paths, this.#id);
    if (!await exists(keeperLockPath(own))) return undefined; // somebody removed the whole home
    const record = await this.#record();
    if (!record) return undefined;
    const { config, revision, state } = record;
    if (!ACTIVE.includes(state.status)) {
      const exit = readExitFile(own.exitPath);
      // Its limits, or its program's end: no more a reason to start it again than a stop.
      if (exit?.reason === "limit" || exit?.reason === "creator") {
        keepings.change(this.#id, { kept: false });
      }
    }
    const { kept, row, health } = keepings.of(this.#id);
    return {
      status: state.status,
      exitCode: state.exitCode,
      kept,
      policy: config.restart,
      row,
      check: config.health,
      health,
      run: state.startedAt ?? "",
      revision,
    };
  }

  async connect(signal: AbortSignal): Promise<KeptGuest> {
    const { keepings, paths, records } = this.#context;
    const { socketPath } = boxPaths(paths, this.#id);
    const client = await GuestClient.connect(socketPath, { signal, timeoutMs: HELLO_MS });
    const config = records.byId(this.#id)?.config;
    // The keeper of a detached box is there when the program that started it has gone.
    if (config && keepings.of(this.#id).detached) {
      void talkToNetwork(this.#context, config, { over: client.closed });
    }
    return {
      closed: client.closed,
      check: async (check, signal) => {
        const config = records.byId(this.#id)?.config;
        if (!config) return { ok: false, message: "it was removed" };
        return await checkHealth(client, config, { check, signal });
      },
      [Symbol.asyncDispose]: () => client.close(),
    };
  }

  async restart(row: number, signal: AbortSignal): Promise<void> {
    const { boxOf, keepings } = this.#context;
    const box = boxOf(this.#id);
    if (!box) throw new HutchError("cancelled", "Cannot restart a box that was let go");
    this.#restarting(true);
    try {
      keepings.restarting(this.#id, row);
      await box.start({ signal, detached: keepings.of(this.#id).detached });
    } finally {
      this.#restarting(false);
    }
  }

  healthChanged({ health, failures, message }: HealthChange): void {
    const { keepings, plugins, records } = this.#context;
    const record = records.byId(this.#id);
    if (!record) return;
    keepings.change(this.#id, { health });
    plugins.emit("box.health", {
      ...{ box: this.#id, name: record.config.name, health, failures, message },
    });
  }

  giveUp(reason: string | null): void {
    const { keepings, records } = this.#context;
    keepings.change(this.#id, { kept: false });
    for (let record = reason === null ? undefined : records.byId(this.#id); record;) {
      const { state } = record;
      if (ACTIVE.includes(state.status)) return; // somebody has started it
      const whole = [state.reason, reason].filter((part) => part !== null).join("; ");
      if (changeSeen(this.#context, record, { ...state, reason: whole })) return;
      record = records.byId(this.#id);
    }
  }

  log(line: string): void {
    if (line === this.#lastLine) return; // what keeps failing is told once
    this.#lastLine = line;
    this.#context.log(`keeper of box ${this.#id}: ${line}`);
  }

  async #record(): Promise<BoxRecord | undefined> {
    const record = this.#context.records.byId(this.#id);
    return record && await reconcile(this.#context, record, false);
  }
}
