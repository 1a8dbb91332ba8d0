/**
 * A relay with an agent double behind it, over real unix sockets: a box without a machine.
 *
 * @module
 */
import { join } from "node:path";
import { boxLibraryPath } from "../../ffi/library.ts";
import { type ConnectOptions, GuestClient } from "../../src/guest/client.ts";
import { Relay, type RelayOptions } from "../../src/vmm/relay.ts";
import { AgentDouble, type AgentScript } from "./agent.ts";

/** What tests set of a relay. */
export type BoxDoubleOptions = Partial<RelayOptions>;

/** The parts, for a test to pull at. */
export class BoxDouble implements AsyncDisposable {
  readonly folder: string;
  /** Socket of the relay, for clients. */
  readonly path: string;
  readonly relay: Relay;
  readonly agents: AgentDouble[] = [];

  private constructor(folder: string, relay: Relay) {
    this.folder = folder;
    this.path = join(folder, "box");
    this.relay = relay;
  }

  /** A relay without an agent. */
  static async make(options: BoxDoubleOptions = {}): Promise<BoxDouble> {
    const folder = await Deno.makeTempDir({ prefix: "hutch-relay-" });
    const relay = await Relay.open({
      library: boxLibraryPath(),
      socketPath: join(folder, "box"),
      channelPath: join(folder, "channel"),
      ...options,
    });
    return new BoxDouble(folder, relay);
  }

  /** Socket of the relay, for its agent. */
  get channelPath(): string {
    return join(this.folder, "channel");
  }

  /** A relay with an agent. */
  static async start(
    script: AgentScript = {},
    options: BoxDoubleOptions = {},
  ): Promise<BoxDouble> {
    const box = await BoxDouble.make(options);
    await box.boot(script);
    return box;
  }

  /** Connects an agent to the relay. */
  async boot(script: AgentScript = {}): Promise<AgentDouble> {
    const agent = await AgentDouble.connect(this.channelPath, script);
    this.agents.push(agent);
    return agent;
  }

  /** The only agent. */
  get agent(): AgentDouble {
    const [agent] = this.agents;
    if (!agent) throw new Error("there is no agent");
    return agent;
  }

  connect(options: ConnectOptions = {}): Promise<GuestClient> {
    return GuestClient.connect(this.path, { timeoutMs: 5000, ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.relay.close();
    for (const agent of this.agents) await agent[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** An exec request with what tests don't care about filled in. */
export function exec(...argv: string[]): {
  readonly op: "exec";
  readonly argv: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: string;
  readonly stdin: boolean;
} {
  return { op: "exec", argv, env: [], cwd: "/", user: "root", stdin: true };
}

/** Waits until something is so; the test's own time limit is the bound. */
export async function until(so: () => boolean): Promise<void> {
  while (!so()) await new Promise((resolve) => setTimeout(resolve, 1));
}
