/** The floor on libkrun: loads the library and enters the machine; nothing else. */
import runner from "../../plugins/engines/libkrun_runner.ts";

const spec = JSON.parse(Deno.readTextFileSync(Deno.args[0] ?? ""));
const machine = await runner.start(spec, {
  confine: () => {},
  counterKhz: () => Promise.resolve(undefined),
  spawn: () => Promise.reject(new Error("the machine is in this process")),
});
await machine.exited;
