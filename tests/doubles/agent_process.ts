/**
 * An agent double in a process of its own: what the engine double runs as its machine. Its argument
 * is the channel's socket. It ends when it was shut down, or when the channel does.
 */
import { AgentDouble, runProgram } from "./agent.ts";

const agent = await AgentDouble.connect(Deno.args[0] ?? "", {
  async open(stream) {
    await runProgram(stream);
    if (stream.fields.get("op") !== "shutdown") return;
    await agent.flushed();
    await agent.done; // its goodbye was heard: a guest that ends before ended by itself
    Deno.exit(0);
  },
});
await agent.done;
Deno.exit(0);
