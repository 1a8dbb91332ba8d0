import assert from "node:assert/strict";
import { join } from "node:path";
import { BuildError, buildTarget, type Target } from "../../ffi/build.ts";

async function inFolder(test: (folder: string, target: Target) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  const target: Target = {
    output: join(folder, "out", "program"),
    sources: [join(folder, "src")],
    headers: [join(folder, "include")],
    flags: ["-std=gnu11", "-Wall", "-Werror"],
    libraries: [],
  };
  try {
    Deno.mkdirSync(join(folder, "src"));
    Deno.mkdirSync(join(folder, "include"));
    Deno.writeTextFileSync(join(folder, "include", "number.h"), "#define NUMBER 3\n");
    Deno.writeTextFileSync(
      join(folder, "src", "main.c"),
      '#include "number.h"\nint main(void) { return NUMBER; }\n',
    );
    await test(folder, target);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

async function exitCode(target: Target): Promise<number> {
  return (await new Deno.Command(target.output).output()).code;
}

Deno.test("buildTarget builds again only when a source, a header or a flag changed", async () => {
  await inFolder(async (folder, target) => {
    assert.equal(await buildTarget(target), "built");
    assert.equal(await exitCode(target), 3);
    assert.equal(await buildTarget(target), "fresh");

    Deno.writeTextFileSync(join(folder, "include", "number.h"), "#define NUMBER 4\n");
    assert.equal(await buildTarget(target), "built");
    assert.equal(await exitCode(target), 4);

    Deno.writeTextFileSync(join(folder, "src", "main.c"), "int main(void) { return 5; }\n");
    assert.equal(await buildTarget(target), "built");
    assert.equal(await exitCode(target), 5);
    assert.equal(await buildTarget(target), "fresh");

    assert.equal(await buildTarget({ ...target, flags: [...target.flags, "-O1"] }), "built");
    assert.equal(await buildTarget(target), "built");
  });
});

Deno.test("buildTarget builds again when its result was removed or replaced", async () => {
  await inFolder(async (_folder, target) => {
    await buildTarget(target);
    Deno.removeSync(target.output);
    assert.equal(await buildTarget(target), "built");
    Deno.writeTextFileSync(target.output, "not the program");
    assert.equal(await buildTarget(target), "built");
  });
});

Deno.test("buildTarget says no sources for a folder without any", async () => {
  await inFolder(async (folder, target) => {
    const nothing = { ...target, sources: [join(folder, "nowhere")] };
    assert.equal(await buildTarget(nothing), "no sources");
  });
});

Deno.test("buildTarget fails with the compiler's words and leaves the old result alone", async () => {
  await inFolder(async (folder, target) => {
    await buildTarget(target);
    Deno.writeTextFileSync(join(folder, "src", "main.c"), "int main(void) { return nonsense; }\n");
    await assert.rejects(
      buildTarget(target),
      (error) => error instanceof BuildError && /nonsense/.test(error.message),
    );
    assert.equal(await exitCode(target), 3);
    const left = [...Deno.readDirSync(join(folder, "out"))].map((entry) => entry.name).sort();
    assert.deepEqual(left, ["program", "program.stamp"]);
  });
});

Deno.test("buildTarget fails clearly without a compiler and above the size limit", async () => {
  await inFolder(async (_folder, target) => {
    await assert.rejects(buildTarget(target, "hutch-no-such-compiler"), /is not there/);
    await assert.rejects(buildTarget({ ...target, maxBytes: 100 }), /more than 100/);
  });
});

Deno.test("buildTarget may run twice at once", async () => {
  await inFolder(async (folder, target) => {
    const results = await Promise.all([buildTarget(target), buildTarget(target)]);
    assert.deepEqual(results, ["built", "built"]);
    assert.equal(await exitCode(target), 3);
    assert.equal(await buildTarget(target), "fresh");
    assert.equal([...Deno.readDirSync(join(folder, "out"))].length, 2);
  });
});

Deno.test("buildTarget links a library only when its header is included", async () => {
  await inFolder(async (folder, target) => {
    const wanting = { ...target, librariesByHeader: { "math.h": ["-lhutch-no-such-library"] } };
    assert.equal(await buildTarget(wanting), "built");
    Deno.writeTextFileSync(
      join(folder, "src", "main.c"),
      "#include <math.h>\nint main(void) { return 3; }\n",
    );
    await assert.rejects(buildTarget(wanting), /hutch-no-such-library/);
  });
});
