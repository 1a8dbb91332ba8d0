import assert from "node:assert/strict";
import { join } from "node:path";
import { counterKhz } from "../../ffi/clock.ts";
import { boxLibraryPath } from "../../ffi/library.ts";
import { projectRoot } from "../agent/native.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const cc = needs("cc");
const flags = await Deno.readTextFile("/proc/cpuinfo").catch(() => "");
/** As the kernel reads the same bit of the processor. */
const even = /^flags\b.*\bnonstop_tsc\b/m.test(flags);

Deno.test("counterKhz measures the same twice, and nothing where no counter counts evenly", async () => {
  const [one, two] = [await counterKhz(boxLibraryPath()), await counterKhz(boxLibraryPath())];
  assert.equal(one !== undefined, even);
  if (one === undefined || two === undefined) return;
  assert.ok(Math.abs(one - two) < one / 1000, `${one} and ${two} kHz`);
});

Deno.test({
  name: `hutch_clock_khz is sound under sanitizers${cc.note}`,
  ignore: cc.ignore,
  async fn() {
    await using folder = new TempFolder();
    const [source, program] = ["main.c", "program"].map((name) => join(folder.path, name));
    await Deno.writeTextFile(
      source ?? "",
      `#include "clock.h"\nint main(void) { return (hutch_clock_khz() > 0) != ${even ? 1 : 0}; }\n`,
    );
    const checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    const own = join(projectRoot, "ffi/clock");
    const strict = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", `-I${own}`];
    await runTool("cc", ...strict, ...checks, "-o", program ?? "", source ?? "", `${own}/clock.c`);
    await runTool(program ?? "");
  },
});
