/**
 * A program for the tests that kill it: it holds the only box of the home in `HUTCH_HOME`, writes
 * the state named by its first argument, does to the machine what the second says (`pause`,
 * `resume` or nothing), and ends itself by SIGKILL.
 */
import { defaultPlugins } from "../../src/runtime/defaults.ts";
import { FileLock } from "../../src/file_lock.ts";
import { boxPaths, defaultHome, pathsOf } from "../../src/runtime/paths.ts";
import { BoxRecords } from "../../src/state/boxes.ts";
import { openDatabase } from "../../src/state/database.ts";
import { processPauser } from "../../src/vmm/pauser.ts";

const [status = "", deed = ""] = Deno.args;
const paths = pathsOf(defaultHome());
const database = openDatabase(paths.database);
const records = new BoxRecords(database);
const [record] = records.list();
if (!record?.state.pid) throw new Error("no box runs");
const own = boxPaths(paths, record.config.id);
await FileLock.acquire(own.operationLockPath);
if (status !== "pausing" && status !== "paused" && status !== "stopping") throw new Error(status);
records.change(record.config.id, record.revision, { ...record.state, status });
const engines = defaultPlugins().flatMap(({ engines = [] }) => engines);
const engine = engines.find(({ name }) => name === record.state.engine);
const pauser = engine?.pauser ?? processPauser;
const machine = { pid: record.state.pid, controlPath: own.controlPath };
if (deed === "pause") await pauser.pause(machine);
if (deed === "resume") await pauser.resume(machine);
Deno.kill(Deno.pid, "SIGKILL");
