/**
 * A relay with an agent double behind it, over real unix sockets: a box without a machine.
 *
 * @module
 */
import { join } from "node:path";
import { type ConnectOptions, GuestClient } from "../../src/guest/client.ts";
import { Relay, type RelayOptions } from "../../src/vmm/relay.ts";
import { AgentDouble, type AgentScript } from "./agent.ts";

/** The parts, for a test to pull at. */
export class BoxDouble implements AsyncDisposable {
  readonly folder: string;
  /** Socket of the relay, for clients. */
  readonly path: string;
  readonly relay: Relay;
  readonly agents: AgentDouble[] = [];
  readonly #channel: Deno.UnixListener;

  private constructor(folder: string, options: RelayOptions) {
    this.folder = folder;
    this.path = join(folder, "box");
    this.relay = new Relay(Deno.listen({ transport: "unix", path: this.path }), options);
    this.#channel = Deno.listen({ transport: "unix", path: join(folder, "channel") });
  }

  /** A relay without an agent. */
  static async make(options: RelayOptions = {}): Promise<BoxDouble> {
    return new BoxDouble(await Deno.makeTempDir({ prefix: "hutch-relay-" }), options);
  }

  /** A relay with an agent. */
  static async start(script: AgentScript = {}, options: RelayOptions = {}): Promise<BoxDouble> {
    const box = await BoxDouble.make(options);
    await box.boot(script);
    return box;
  }

  /** Connects an agent to the relay. */
  async boot(script: AgentScript = {}): Promise<AgentDouble> {
    const [agent, conn] = await Promise.all([
      AgentDouble.connect(join(this.folder, "channel"), script),
      this.#channel.accept(),
    ]);
    this.relay.attach(conn);
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
    this.#channel.close();
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
