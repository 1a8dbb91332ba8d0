import assert from "node:assert/strict";
import { join } from "node:path";
import { findKernelLibrary } from "../../src/runtime/native.ts";
import { pathsOf } from "../../src/runtime/paths.ts";
import { FakeRegistry, memoryImage } from "../support/fake_registry.ts";
import { FileServer } from "../support/file_server.ts";
import { permissionFlags } from "../support/readme.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { ROOT, TEST_ENGINE, withHome } from "./support.ts";

const DETACHED = `import { Runtime } from "./mod.ts";
await using runtime = await Runtime.open();
const box = await runtime.create({
  image: "builtin:busybox", memory: "128m", name: "web", detached: true, restart: "always",
});
await box.start();
console.log((await box.info()).status, (await box.exec("echo", ["from a URL"])).stdout);
await box.remove({ force: true });
`;

const FEW = `import { Runtime } from "./mod.ts";
await using runtime = await Runtime.open();
await runtime.images.pull("IMAGE");
await using box = await runtime.create({ image: "builtin:busybox", memory: "128m" });
console.log((await box.exec("echo", ["few permissions"])).stdout);
`;

/** Deno's folder of packages, which a new one gets a copy of: tests use no network. */
async function npmCache(): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json"],
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).npmCache;
}

// In the emulated machine compiling takes minutes; and it is the same there.
Deno.test({
  name: "hutch imported from a URL runs the README's script, with nothing but a compiler here",
  ignore: TEST_ENGINE !== "qemu",
  fn: () =>
    withHome(async (home) => {
      await using folder = new TempFolder();
      await using server = new FileServer(ROOT);
      const denoDir = join(folder.path, "deno");
      const work = join(folder.path, "work");
      for (const path of [denoDir, work]) await Deno.mkdir(path);
      const compiler = join(folder.path, "cc"); // the last -O counts: half the time
      await Deno.writeTextFile(compiler, '#!/bin/sh\nexec cc "$@" -O0\n', { mode: 0o755 });
      await new Deno.Command("cp", { args: ["-R", await npmCache(), join(denoDir, "npm")] })
        .output();
      const env = {
        HUTCH_HOME: home,
        CC: compiler,
        DENO_DIR: denoDir,
        XDG_CACHE_HOME: join(folder.path, "cache"),
        HUTCH_LIBKRUNFW: await findKernelLibrary() ?? "",
        ...{
          HUTCH_HELPER: "",
          HUTCH_AGENT: "",
          HUTCH_BOX_LIBRARY: "",
          HUTCH_SHARE: "",
          HUTCH_NET: "",
          NO_COLOR: "1",
        },
      };
      const run = async (script: string, flags = ["-A"]): Promise<string> => {
        const path = join(work, "script.ts");
        await Deno.writeTextFile(path, script.replace("./mod.ts", `${server.url}mod.ts`));
        const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
          args: ["run", "--quiet", ...flags, path],
          cwd: work,
          env,
        }).output();
        const decoder = new TextDecoder();
        assert.equal(code, 0, decoder.decode(stderr));
        return decoder.decode(stdout);
      };

      // The README's permissions.
      const cache = join(env.XDG_CACHE_HOME, "hutch");
      const flags = await permissionFlags({
        ...{ home, sockets: pathsOf(home).sockets, cache, checkout: join(cache, "native") },
      });
      const few = flags.map((flag) =>
        flag.startsWith("--allow-ffi=")
          ? `--allow-ffi=${join(cache, "native")}`
          : flag.replace("--allow-run=deno", `--allow-run=${Deno.execPath()}`)
            .replace("--allow-read=", `--allow-read=${env.HUTCH_LIBKRUNFW},`)
      );
      few.push(`--allow-import=${new URL(server.url).host}`);
      const first = few.map((flag) =>
        flag.replace("--allow-run=", `--allow-run=${compiler},`)
          .replace("--allow-write=", `--allow-write=${cache},`)
          .replace("--allow-env=", "--allow-env=CC,")
      );

      const readme = await Deno.readTextFile(join(ROOT, "README.md"));
      const said = await run(/```ts\n(.*?)```/s.exec(readme)?.[1] ?? "", first);
      assert.match(said, /^0 Linux \S+\n\n1\n2\n3\nTYPED ON THE HOST\n\n$/);
      assert.deepEqual(server.missed, []);
      assert.ok(server.served.includes("/ffi/agent/main.c"));

      // Another program finds the parts in the cache, and its keeper comes from the URL too.
      const before = server.served.length;
      assert.match(await run(DETACHED), /^running from a URL\n/);
      const later = server.served.slice(before);
      assert.deepEqual(later.filter((path) => /\.[ch]$/.test(path)), []);

      await using registry = new FakeRegistry();
      const layer = writeTar({ path: "file", data: "pulled" });
      registry.addImage("one:tag", memoryImage([layer]));
      assert.match(
        await run(FEW.replace("IMAGE", `${registry.host}/one:tag`), few),
        /^few permissions\n/,
      );
    }),
});
