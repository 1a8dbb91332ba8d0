/**
 * The box process, started beside the stages that make what its machine needs: it takes as long as
 * they do to be ready. It is started with what the box asked for; where that isn't what comes of the
 * stages, since a plugin had a say, another one takes its place.
 *
 * @module
 */
import { isIntercepted } from "../network/secrets.ts";
import type { LayoutOutput } from "../plugin/contract.ts";
import { type BoxProcessOptions, WaitingBoxProcess } from "../vmm/machine.ts";
import { type ProbedEngine, selectEngine } from "../vmm/select.ts";
import type { StartContext } from "./context.ts";
import { network as networkOf } from "./network_stage.ts";
import { processOptions } from "./process_options.ts";

/** See the module. Its end is that of a box process whose machine wasn't started. */
export class ProcessAhead implements AsyncDisposable {
  readonly #context: StartContext;
  readonly #engine: Promise<ProbedEngine>;
  #waiting: Promise<WaitingBoxProcess | undefined>;

  /** Starts it. */
  constructor(context: StartContext, own: LayoutOutput) {
    this.#context = context;
    this.#engine = select(context, context.box.engine);
    this.#engine.catch(() => {}); // told in its stage, if the start comes so far
    // What fails here is tried again in its stage, and told there.
    this.#waiting = open(context, own, this.#engine).catch(() => undefined);
  }

  /**
   * The engine for the box.
   *
   * @param asked What came of the stages: an engine's name or `auto`.
   * @throws HutchError as `selectEngine`.
   */
  async engine(asked: string): Promise<ProbedEngine> {
    const { box } = this.#context;
    return await (asked === box.engine ? this.#engine : select(this.#context, asked));
  }

  /**
   * A box process with these that waits for its machine.
   *
   * @throws HutchError `part_missing`.
   */
  async process(options: BoxProcessOptions): Promise<WaitingBoxProcess> {
    const waiting = await this.#waiting;
    if (waiting?.isFor(options)) return waiting;
    await waiting?.[Symbol.asyncDispose](); // they have the same lock and sockets
    const opened = WaitingBoxProcess.open(options);
    this.#waiting = opened.catch(() => undefined);
    return await opened;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#waiting)?.[Symbol.asyncDispose]();
  }
}

function select(
  { box, engines, handle, kvm, plugins, signal }: StartContext,
  asked: string,
): Promise<ProbedEngine> {
  return selectEngine(
    asked,
    engines,
    { kvm, versions: false, signal },
    (usable) => plugins.ask("engine", { box: box.id, usable }, { signal, box: handle }),
  );
}

/** Undefined for a box with volumes or secrets, whose process is started with what these come to be. */
async function open(
  context: StartContext,
  own: LayoutOutput,
  engine: Promise<ProbedEngine>,
): Promise<WaitingBoxProcess | undefined> {
  if (context.box.volumes.length > 0) return undefined;
  const network = await networkOf(context);
  if (network.mode !== "none" && isIntercepted(network)) return undefined;
  return await WaitingBoxProcess.open(
    await processOptions(context, own, { engine: await engine, machine: own, network }),
  );
}
