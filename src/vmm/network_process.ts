/**
 * The program that is a box's network, as the box process starts it: it lives as long as that.
 *
 * @module
 */
import type { MachineNetworkProcess } from "./machine_file.ts";

/** Text of its standard error that is kept for messages, in characters. */
const OUTPUT_LIMIT = 4_000;

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
export async function startNetwork(network: MachineNetworkProcess): Promise<NetworkProcess> {
  const child = new Deno.Command(network.program, {
    args: [network.socketPath, network.controlPath, network.macAddress],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    clearEnv: true,
  }).spawn();
  const words = tail(child.stderr);
  const ended = (async () => {
    const { code, signal } = await child.status;
    const said = await words;
    return `hutch-net, which is its network, ended with ${signal ?? `code ${code}`}${
      said === "" ? "" : `: ${said}`
    }`;
  })();
  const kill = () => {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
  };
  // Kept open: its end ends the program, even when this process is killed.
  const writer = child.stdin.getWriter();
  const reader = child.stdout.getReader();
  const text = new TextDecoder();
  const answers: string[] = [];
  let rest = "";
  const give = async (order: string): Promise<string> => {
    await writer.write(new TextEncoder().encode(`${order}\n`));
    while (!rest.includes("\n")) {
      const { value, done } = await reader.read();
      if (done) throw new Error(await ended);
      rest += text.decode(value, { stream: true });
    }
    const answer = rest.slice(0, rest.indexOf("\n"));
    rest = rest.slice(rest.indexOf("\n") + 1);
    return answer;
  };
  try {
    for (const order of network.orders) answers.push(await give(order));
  } catch (error) {
    kill();
    throw new Error(`${await ended} (${error instanceof Error ? error.message : String(error)})`);
  }
  const refused = answers.findIndex((answer) => !answer.startsWith('{"ok":true'));
  if (refused >= 0) {
    kill();
    await ended;
    throw new NetworkRefused(refused, answers[refused] ?? "");
  }
  const quietMs = async () => quietOf(await give("counters"));
  return { answers, ended, quietMs, kill };
}

/** From the answer to the order `counters`. */
function quietOf(answer: string): number {
  const quiet: unknown = JSON.parse(answer).counters?.quietMs;
  if (typeof quiet !== "number") throw new Error(`the network has no counters: ${answer}`);
  return quiet;
}

async function tail(stream: ReadableStream<Uint8Array>): Promise<string> {
  let kept = "";
  const text = new TextDecoder();
  for await (const chunk of stream) {
    kept = (kept + text.decode(chunk, { stream: true })).slice(-OUTPUT_LIMIT);
  }
  return kept.trim();
}
