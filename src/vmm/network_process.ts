/**
 * The program that is a box's network, as the box process starts it: it lives as long as that.
 *
 * @module
 */
import { ChildProcess } from "../../ffi/child.ts";
import type { MachineNetworkProcess } from "./machine_file.ts";

/** A network that runs. */
export interface NetworkProcess {
  /** What it answered to each order. */
  readonly answers: readonly string[];
  /** Says how it ended, with its last words. */
  readonly ended: Promise<string>;
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
 * Starts it, and gives it its first orders; when this returns, it listens for the machine.
 *
 * @throws NetworkRefused, or Error with its words when it doesn't come so far.
 */
export async function startNetwork(
  network: MachineNetworkProcess,
  library: string,
): Promise<NetworkProcess> {
  const { program, socketPath, controlPath, macAddress } = network;
  // Its input's end ends it, also when this process is killed.
  const child = ChildProcess.start(library, {
    command: [program, socketPath, controlPath, macAddress],
    asked: true,
  });
  if (!child) throw new Error(`${program} is locked`);
  const ended = (async () => {
    const { code, signal, output } = await child.ended;
    return `hutch-net, which is its network, ended with ${signal ?? `code ${code}`}${
      output === "" ? "" : `: ${output}`
    }`;
  })();
  const answers: string[] = [];
  for (const [at, order] of network.orders.entries()) {
    const answer = await child.ask(order);
    if (answer === undefined) {
      child.kill();
      throw new Error(await ended);
    }
    answers.push(answer);
    if (answer.startsWith('{"ok":true')) continue;
    child.kill();
    await ended;
    throw new NetworkRefused(at, answer);
  }
  return {
    answers,
    ended,
    kill: () => child.kill(),
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
