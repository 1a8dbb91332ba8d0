import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { compileArguments, embeddedParts, firstModule } from "../../compile.ts";
import { TempFolder } from "../support/temp.ts";
import { StandIn } from "../support/stand_in.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const AUDIT = join(ROOT, "plugins/audit.ts");

Deno.test("firstModule has all that its processes load, and the plugins", async () => {
  await using folder = new TempFolder();
  const first = join(folder.path, "first.ts");
  await Deno.writeTextFile(first, firstModule({ plugins: [AUDIT], output: "x" }));
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", first],
    cwd: ROOT,
  }).output();
  const { modules } = JSON.parse(new TextDecoder().decode(stdout));
  const found = modules.map(({ specifier }: { specifier: string }) => specifier);
  const wanted = [
    ...["src/vmm/box_main.ts", "src/runtime/keeper_process.ts", "src/cli/main.ts"],
    "src/network/intercept/main.ts",
    ...["plugins/engines/qemu_runner.ts", "plugins/engines/libkrun_runner.ts", "plugins/audit.ts"],
    "src/cli/run.ts",
  ];
  const missing = wanted.filter((path) => !found.includes(pathToFileURL(join(ROOT, path)).href));
  assert.deepEqual(missing, []);
  const errors = modules.filter(({ error }: { error?: string }) => error !== undefined);
  assert.deepEqual(errors, []);
});

Deno.test("compileArguments embeds every native part", async () => {
  const args = await compileArguments(
    { output: "/x/hutch", flags: ["--allow-read"] },
    "/x/first.ts",
  );
  assert.deepEqual(args.slice(0, 2), ["compile", "--allow-read"]);
  assert.deepEqual(args.slice(-3), ["--output", "/x/hutch", "/x/first.ts"]);
  for (const name of ["libhutch.so", "hutch-agent", "libhutch-box.so"]) {
    assert.ok(args.includes(join(ROOT, "build", name)), name);
  }
  for (const path of await embeddedParts()) assert.ok((await Deno.stat(path)).isFile);
});

/** A script that says what it sees; the ticket's variable may reach it. */
const SCRIPT =
  `console.log("the user's code", Deno.args.join(" "), Deno.env.get("HUTCH_OWN_PROCESS"));`;

Deno.test("a compiled program is a process of hutch's by its parent's ticket alone", async () => {
  await using folder = new TempFolder();
  const program = await StandIn.make(folder.path, SCRIPT);
  const secret = crypto.randomUUID();
  const ticket = join(folder.path, "box.ticket");
  const variable = { HUTCH_OWN_PROCESS: `${secret} ${ticket}` };
  const users = (args: string) => `the user's code ${args} undefined\n`;

  assert.equal((await program.run(["box", ticket])).stdout, users(`box ${ticket}`));
  assert.equal((await program.run([], variable)).stdout, users(""), "there is no ticket");

  const write = (fields: Record<string, unknown>) =>
    Deno.writeTextFile(
      ticket,
      JSON.stringify({ secret, parent: Deno.pid, role: "box", args: ["/none"], ...fields }),
    );
  await write({ secret: crypto.randomUUID() });
  assert.equal((await program.run([], variable)).stdout, users(""), "another secret");
  await write({ parent: 1 });
  assert.equal((await program.run([], variable)).stdout, users(""), "another parent");

  await write({});
  const { stdout, code } = await program.run([], variable);
  assert.match(stdout, /^\{"error":.*\/none/, "it is a box process, whose machine isn't there");
  assert.equal(code, 1);
  await assert.rejects(Deno.stat(ticket), Deno.errors.NotFound);
  assert.equal((await program.run([], variable)).stdout, users(""), "a ticket is for one start");
});

Deno.test("a compiled program says why it loads no module at run time", async () => {
  await using folder = new TempFolder();
  const program = await StandIn.make(folder.path);
  const { code, stderr } = await program.run(["--plugin", "./audit.ts", "ls"]);
  assert.equal(code, 125);
  assert.match(
    stderr,
    /^hutch: Cannot load plugin "\.\/audit\.ts": this program was compiled, and has no modules but its own; compile it with/,
  );
});

Deno.test("a compiled program has the plugins that it was compiled with, and unpacks its parts", async () => {
  await using folder = new TempFolder();
  const plugin = join(folder.path, "polite.ts");
  await Deno.writeTextFile(plugin, `export default { name: "polite" };`);
  const program = await StandIn.make(folder.path, undefined, [plugin]);
  const cache = join(folder.path, "cache");
  const env = { HUTCH_HOME: join(folder.path, "home"), XDG_CACHE_HOME: cache };
  const doctor = async () => {
    const { stdout, stderr } = await program.run(["--no-config", "doctor", "--json"], env);
    assert.equal(stderr, "");
    return JSON.parse(stdout);
  };
  const report = await doctor();
  assert.deepEqual(report.plugins, ["polite"]);
  const helper = report.parts.find(({ name }: { name: string }) => name === "helper").path;
  assert.equal(dirname(dirname(helper)), join(cache, "hutch/native"));
  const built = await Deno.readFile(join(ROOT, "build/libhutch.so"));
  assert.deepEqual(await Deno.readFile(helper), built);

  await Deno.writeTextFile(helper, "damaged");
  await doctor();
  assert.deepEqual(await Deno.readFile(helper), built);
  const left = [...Deno.readDirSync(dirname(helper))].map(({ name }) => name);
  assert.deepEqual(left, ["libhutch.so"]);
});
