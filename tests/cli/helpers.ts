/** Streams that keep what they get, for the command line's tests. */
import type { BoxInfo } from "../../src/box/options.ts";
import type { ByteSink, ByteSource, CliIo } from "../../src/cli/io.ts";
import { config } from "../state/config.ts";

/** A sink that keeps all bytes; `accepts` bounds what one write takes. */
export class MemorySink implements ByteSink {
  readonly chunks: Uint8Array[] = [];
  readonly #accepts: number;

  constructor(accepts = Infinity) {
    this.#accepts = accepts;
  }

  write(bytes: Uint8Array): Promise<number> {
    const taken = bytes.slice(0, this.#accepts);
    this.chunks.push(taken);
    return Promise.resolve(taken.length);
  }

  isTerminal(): boolean {
    return false;
  }

  get text(): string {
    const decoder = new TextDecoder();
    return this.chunks.map((chunk) => decoder.decode(chunk, { stream: true })).join("");
  }
}

/** Streams in memory; standard input ends at once. */
export function memoryIo(): CliIo & { stdout: MemorySink; stderr: MemorySink } {
  const stdin: ByteSource = { read: () => Promise.resolve(null) };
  return { stdin, stdout: new MemorySink(), stderr: new MemorySink() };
}

const MAIN = new URL("../../src/cli/main.ts", import.meta.url).href;

/** How a run of the command line in a process of its own ended. */
export interface HutchResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command line in a process of its own. */
export async function hutch(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<HutchResult> {
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", MAIN, ...args],
    env: { HUTCH_DEBUG: "", NO_COLOR: "1", ...env },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return {
    code: output.code,
    stdout: decoder.decode(output.stdout),
    stderr: decoder.decode(output.stderr),
  };
}

/** A box's description; `changes` over a box that was never started. */
export function boxInfo(
  changes: Partial<BoxInfo>,
  createdAt = "2026-01-01T00:00:00.000Z",
): BoxInfo {
  const id = "0123456789ab";
  return {
    id,
    name: "web",
    status: "configured",
    config: config(id, "web", {
      createdAt,
      image: {
        reference: "registry:docker.io/library/debian:12",
        digest: `sha256:${"0".repeat(64)}`,
      },
      cpus: 2,
      memoryMiB: 512,
      diskMiB: 10_240,
      bootTimeoutMs: 30_000,
      command: ["sh"],
    }),
    pid: null,
    engine: null,
    startedAt: null,
    stoppedAt: null,
    reason: null,
    exitCode: null,
    health: "none",
    restarts: 0,
    restartedAt: null,
    ports: [],
    stage: null,
    stages: {},
    ...changes,
  };
}
