/**
 * An agent double in a process of its own whose guest says goodbye and then takes for ever to restart.
 * Its argument is the channel's socket.
 */
import { AgentDouble, runProgram } from "./agent.ts";

await AgentDouble.connect(Deno.args[0] ?? "", { open: (stream) => runProgram(stream) });
setInterval(() => {}, 60_000);
