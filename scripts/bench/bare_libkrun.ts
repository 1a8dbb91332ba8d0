/** The floor on libkrun: loads the library and enters the machine; nothing else. */
import runner from "../../plugins/engines/libkrun_runner.ts";

const machine = await runner.start(JSON.parse(Deno.readTextFileSync(Deno.args[0] ?? "")));
await machine.exited;
