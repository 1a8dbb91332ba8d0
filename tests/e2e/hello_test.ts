import assert from "node:assert/strict";
import { join } from "node:path";
import { probeKvm as countDown } from "../../ffi/helper.ts";
import { libkrun } from "../../plugins/engines/libkrun.ts";
import { cacheFolder } from "../../src/cache_folder.ts";
import { pathsOf } from "../../src/runtime/paths.ts";
import { probeKvm } from "../../src/vmm/kvm.ts";
import { permissionFlags } from "../support/readme.ts";
import { BOX, hutch, ROOT, RUN, TEST_ENGINE, withHome } from "./support.ts";

const on = `on ${TEST_ENGINE}`;

Deno.test(`hutch run prints what the command prints and leaves nothing with --rm ${on}`, () =>
  withHome(async (home) => {
    const result = await hutch(home, [
      ...["run", "--rm", ...RUN, "builtin:busybox"],
      ...["sh", "-c", "echo hello from $(uname -s); echo beside >&2"],
    ]);
    assert.deepEqual(
      [result.code, result.stdout, result.stderr],
      [0, "hello from Linux\n", "beside\n"],
    );
    const list = await hutch(home, ["ls", "-a", "--json"]);
    assert.deepEqual(JSON.parse(list.stdout), []);
  }));

Deno.test(`the README's script prints what a reader expects ${on}`, () =>
  withHome(async (home) => {
    const readme = await Deno.readTextFile(join(ROOT, "README.md"));
    const script = /```ts\n(.*?)```/s.exec(readme)?.[1];
    assert.ok(script);
    const path = join(home, "script.ts");
    const here = script.replace("./mod.ts", join(ROOT, "mod.ts"));
    const { bootTimeoutMs } = BOX;
    const patient = here.replace(`memory: "128m"`, `$&, bootTimeoutMs: ${bootTimeoutMs}`);
    assert.notEqual(patient, here);
    await Deno.writeTextFile(path, TEST_ENGINE === "qemu" ? here : patient);
    const flags = TEST_ENGINE === "libkrun" ? await libkrunFlags(home) : ["-A"];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      // Checking its types takes the emulated machine a minute.
      args: ["run", "--quiet", TEST_ENGINE === "qemu" ? "--check" : "--no-check", ...flags, path],
      env: { HUTCH_HOME: home },
    }).output();
    const decoder = new TextDecoder();
    assert.equal(code, 0, decoder.decode(stderr));
    assert.match(decoder.decode(stdout), /^0 Linux \S+\n\n1\n2\n3\nTYPED ON THE HOST\n\n$/);
  }));

/** What the README says that a script needs on libkrun. */
async function libkrunFlags(home: string): Promise<string[]> {
  const [engine] = libkrun().engines ?? [];
  const report = await engine?.probe({ kvm: () => probeKvm(countDown), versions: false });
  const [library] = report?.permissions.ffi ?? [];
  assert.ok(library, "libkrun was not found");
  const flags = await permissionFlags({
    ...{ home, sockets: pathsOf(home).sockets, cache: cacheFolder(), checkout: ROOT },
  });
  return flags.map((flag) =>
    flag.startsWith("--allow-ffi=")
      ? `${flag},${library}`
      : flag.replace("--allow-run=deno", `--allow-run=${Deno.execPath()}`)
  );
}

// Nothing in it depends on the engine.
if (TEST_ENGINE === "qemu") {
  Deno.test(`hutch init writes a script and a configuration that work as they are ${on}`, () =>
    withHome(async (home) => {
      const folder = join(home, "project");
      const made = await hutch(home, ["init", folder]);
      assert.deepEqual([made.code, made.stderr], [0, ""]);
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--quiet", "box.ts"],
        cwd: folder,
        env: { HUTCH_HOME: home },
      }).output();
      const decoder = new TextDecoder();
      assert.equal(code, 0, decoder.decode(stderr));
      assert.match(decoder.decode(stdout), /^Linux \S+\nit's quoted\n/);
      const list = await hutch(home, ["ls", "-a", "--json"]);
      assert.deepEqual(JSON.parse(list.stdout), []);
    }));
}
