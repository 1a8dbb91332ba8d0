/** Starts a detached command that reads its input, says its id once it printed something, and hangs. */
import { Runtime } from "../../mod.ts";

const [home = "", name = ""] = Deno.args;
const runtime = await Runtime.open({ home });
const box = await runtime.get(name);
const execution = box.exec("sh", ["-c", "echo one; read word; echo got $word; exit 5"], {
  detached: true,
  stdin: "piped",
});
const reader = execution.stdout.getReader();
await reader.read();
console.log(execution.id);
await new Promise(() => setInterval(() => {}, 1000));
