/**
 * The program that is a box's network, as the box process starts it: it lives as long as that.
 *
 * @module
 */
import { BoxLibrary } from "../../ffi/box_library.ts";
import { ChildProcess } from "../../ffi/child.ts";
import type { MachineNetworkProcess } from "./machine_file.ts";

/** A network that runs. */
export interface NetworkProcess {
  /** Says how it ended, with its last words. */
  readonly ended: Promise<string>;
  /**
   * Gives it orders, one after the other; when this returns, it listens for the machine.
   *
   * @returns What it answered to each.
   * @throws NetworkRefused, or Error with its words when it doesn't come so far; it has ended then.
   */
  order(orders: readonly string[]): Promise<readonly string[]>;
  /**
   * For how long no conversation has carried anything, in `ms`. Never resolves when the network
   * doesn't answer; one question at a time.
   */
  quietMs(): Promise<number>;
  /** Ends it at once; idempotent. */
  kill(): void;
}

/** An order that the network refused. */
export class NetworkRefused extends Error {
  readonly order: number;
  /** Its line of JSON. */
  readonly answer: string;

  constructor(order: number, answer: string) {
    super(`the network refused an order: ${answer}`);
    this.order = order;
    this.answer = answer;
  }
}

/**
 * Starts it.
 *
 * @param listener A descriptor of a socket that listens for the machine, which it takes over. @default {it makes one}
 * @throws Error when it can't be started.
 */
export function startNetwork(
  network: MachineNetworkProcess,
  library: string,
  listener?: number,
): NetworkProcess {
  const { program, socketPath, controlPath, macAddress } = network;
  // Its input's end ends it, also when this process is killed.
  const child = ChildProcess.start(new BoxLibrary(library), {
    command: [program, listener === undefined ? socketPath : "-", controlPath, macAddress],
    asked: true,
    third: listener,
  });
  if (!child) throw new Error(`${program} is locked`);
  const ended = child.ended.then(({ code, signal, output }) =>
    `hutch-net, which is its network, ended with ${signal ?? `code ${code}`}${
      output === "" ? "" : `: ${output}`
    }`
  );
  return {
    ended,
    kill: () => child.kill(),
    async order(orders) {
      const answers: string[] = [];
      for (const [at, order] of orders.entries()) {
        const answer = await child.ask(order);
        if (answer?.startsWith('{"ok":true')) {
          answers.push(answer);
          continue;
        }
        child.kill();
        const end = await ended;
        throw answer === undefined ? new Error(end) : new NetworkRefused(at, answer);
      }
      return answers;
    },
    async quietMs() {
      const answer = await child.ask("counters");
      if (answer === undefined) throw new Error(await ended);
      return quietOf(answer);
    },
  };
}

/** From the answer to the order `counters`. */
function quietOf(answer: string): number {
  const quiet: unknown = JSON.parse(answer).counters?.quietMs;
  if (typeof quiet !== "number") throw new Error(`the network has no counters: ${answer}`);
  return quiet;
}
