import assert from "node:assert/strict";
import { kernelElf } from "../../src/vmm/kernel.ts";

/** A flat image with a note of type 18 at `at`, its value in `size` bytes. */
function image(at: number, size: 4 | 8, value: bigint): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4096);
  const view = new DataView(bytes.buffer);
  view.setUint32(at, 4, true);
  view.setUint32(at + 4, size, true);
  view.setUint32(at + 8, 18, true);
  bytes.set([0x58, 0x65, 0x6e, 0], at + 12);
  if (size === 4) view.setUint32(at + 16, Number(value), true);
  else view.setBigUint64(at + 16, value, true);
  return bytes;
}

for (const size of [4, 8] as const) {
  Deno.test(`kernelElf writes both entry points, from a note of ${size} bytes`, () => {
    const bytes = image(512, size, 0x1000000n);
    const elf = kernelElf({ bytes, loadAddress: 0x1000000n, entryAddress: 0x1000123n });
    const view = new DataView(elf.buffer);
    assert.equal(view.getUint32(0), 0x7f454c46);
    assert.equal(view.getBigUint64(24, true), 0x1000123n); // e_entry
    const load = 64;
    assert.equal(view.getUint32(load, true), 1); // PT_LOAD
    const offset = Number(view.getBigUint64(load + 8, true));
    assert.equal(view.getBigUint64(load + 16, true), 0x1000000n);
    assert.deepEqual(elf.subarray(offset), bytes);
    const note = Number(view.getBigUint64(64 + 56 + 8, true));
    assert.equal(view.getUint32(note + 8, true), 18);
    assert.equal(view.getBigUint64(note + 16, true), 0x1000000n);
  });
}

Deno.test("kernelElf refuses a kernel without a PVH entry", () => {
  const kernel = { bytes: new Uint8Array(4096), loadAddress: 0n, entryAddress: 0n };
  assert.throws(() => kernelElf(kernel), { code: "part_missing" });
});

Deno.test("kernelElf looks no further than the image's end", () => {
  const bytes = image(4096 - 24, 8, 1n).subarray(0, 4096 - 8);
  const kernel = { bytes: bytes.slice(), loadAddress: 0n, entryAddress: 0n };
  assert.throws(() => kernelElf(kernel), { code: "part_missing" });
});
