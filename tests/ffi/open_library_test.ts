import assert from "node:assert/strict";
import { join } from "node:path";
import { boxLibraryPath, helperPath } from "../../ffi/library.ts";
import { openLibrary } from "../../ffi/open_library.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const cc = needs("cc");
const MODULE = new URL("../../ffi/open_library.ts", import.meta.url).href;

const SOURCE = `
#include <stdint.h>
int64_t many(uint8_t a, int32_t b, uint64_t c, const uint8_t *d, int16_t e, double f, uint32_t g,
	     const uint8_t *h, int64_t i)
{
	return a + b * 2 + (int64_t)c * 3 + d[0] * 5 + e * 7 + (int64_t)f * 11 + g * 13 + (h ? 17 : 19) + i * 23;
}
int32_t none(void) { return -7; }
void fill(uint8_t *bytes, uint64_t length) { for (uint64_t at = 0; at < length; at++) bytes[at] = (uint8_t)at; }
void *same(void *pointer) { return pointer; }
_Bool opposite(_Bool value) { return !value; }
uint64_t least_and_most(uint64_t value) { return ~value; }
`;

Deno.test({
  name:
    `a library's functions get their arguments, however many, and give what they give${cc.note}`,
  ignore: cc.ignore,
  async fn() {
    await using folder = new TempFolder();
    const [source, path] = [join(folder.path, "all.c"), join(folder.path, "all.so")];
    await Deno.writeTextFile(source, SOURCE);
    await runTool("cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", path, source);
    const { symbols, close } = openLibrary(path, {
      many: {
        parameters: ["u8", "i32", "u64", "buffer", "i16", "f64", "u32", "buffer", "i64"],
        result: "i64",
      },
      none: { parameters: [], result: "i32" },
      fill: { parameters: ["buffer", "u64"], result: "void" },
      same: { parameters: ["pointer"], result: "pointer" },
      opposite: { parameters: ["bool"], result: "bool" },
      least_and_most: { parameters: ["u64"], result: "u64" },
      later: { name: "none", parameters: [], result: "i32", nonblocking: true },
      absent: { parameters: [], result: "void", optional: true },
    });
    const bytes = new Uint8Array([4]);
    const sum = 1 - 2 * 2 + 3 * 3 + 4 * 5 + -5 * 7 + 6 * 11 + 7 * 13 + 19 + -9 * 23;
    assert.equal(symbols.many(1, -2, 3n, bytes, -5, 6.5, 7, null, -9n), BigInt(sum));
    assert.equal(symbols.none(), -7);
    assert.equal(await symbols.later(), -7);
    const filled = new Uint8Array(5);
    assert.equal(symbols.fill(filled, 4n), undefined);
    assert.deepEqual([...filled], [0, 1, 2, 3, 0]);
    const pointer = Deno.UnsafePointer.of(filled);
    assert.ok(Deno.UnsafePointer.equals(symbols.same(pointer), pointer));
    assert.equal(symbols.same(null), null);
    assert.equal(symbols.opposite(true), false);
    assert.equal(symbols.least_and_most(0n), 0xffff_ffff_ffff_ffffn);
    assert.equal(symbols.absent, null);
    close();
  },
});

Deno.test("a library that isn't there, or lacks a function, isn't opened", async () => {
  await using folder = new TempFolder();
  assert.throws(() => openLibrary(join(folder.path, "absent.so"), {}), /absent\.so/);
  const absent = { hutch_absent: { parameters: [], result: "void" } } as const;
  assert.throws(() => openLibrary(boxLibraryPath(), absent), /hutch_absent/);
});

Deno.test({
  name: "nothing is compiled for a library's functions",
  ignore: Deno.build.os !== "linux", // the kernel shows what can be executed there
  async fn() {
    const program = `
      import { openLibrary } from ${JSON.stringify(MODULE)};
      const { symbols } = openLibrary(Deno.args[0], {
        hutch_confine_support: { parameters: [], result: "u32" },
      });
      symbols.hutch_confine_support();
      const maps = Deno.readTextFileSync("/proc/self/maps").split("\\n");
      console.log(maps.filter((line) => /^\\S+ r?w?-?xp 0+ 00:00 0\\s*$/.test(line)).length);
    `;
    await using folder = new TempFolder();
    const file = join(folder.path, "program.ts");
    await Deno.writeTextFile(file, program);
    // JavaScript's own engine compiles nothing then.
    const flags = ["run", "-A", "--quiet", "--no-check", "--no-config", "--v8-flags=--jitless"];
    assert.equal(await runTool(Deno.execPath(), ...flags, file, helperPath()), "0\n");
  },
});
