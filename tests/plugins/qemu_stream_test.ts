import assert from "node:assert/strict";
import { join } from "node:path";
import { MigrationReader } from "../../plugins/engines/qemu_stream.ts";
import { fc } from "../deps.ts";
import { TempFolder } from "../support/temp.ts";

const PAGE = 4096;
const MIB = 2 ** 20;
const RAM = "microvm.ram";
const FLAG = { ZERO: 0x02, MEM_SIZE: 0x04, PAGE: 0x08, EOS: 0x10, CONTINUE: 0x20 } as const;

/** A migration stream, as QEMU writes it. */
class Stream {
  readonly #parts: number[][] = [];
  #block = "";

  u8(value: number): this {
    return this.bytes([value]);
  }
  u32(value: number): this {
    return this.bytes([24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff));
  }
  u64(value: number): this {
    return this.u32(Math.floor(value / 2 ** 32)).u32(value % 2 ** 32);
  }
  text(text: string): this {
    return this.u8(text.length).bytes([...new TextEncoder().encode(text)]);
  }
  bytes(bytes: number[]): this {
    this.#parts.push(bytes);
    return this;
  }
  head(): this {
    return this.u32(0x5145564d).u32(3).u8(7).u32(7).bytes([...new TextEncoder().encode("microvm")]);
  }
  begin(blocks: Readonly<Record<string, number>> = { [RAM]: MIB, "pc.bios": PAGE }): this {
    const total = Object.values(blocks).reduce((sum, size) => sum + size, 0);
    this.u8(1).u32(2).text("ram").u32(0).u32(4).u64(total + FLAG.MEM_SIZE);
    for (const [name, size] of Object.entries(blocks)) this.text(name).u64(size);
    return this.eos();
  }
  section(type: number): this {
    return this.u8(type).u32(2);
  }
  eos(): this {
    return this.u64(FLAG.EOS).u8(0x7e).u32(2);
  }
  page(block: string, number: number, fill: number): this {
    const flags = (fill === 0 ? FLAG.ZERO : FLAG.PAGE) |
      (block === this.#block ? FLAG.CONTINUE : 0);
    this.u64(number * PAGE + flags);
    if (block !== this.#block) this.text(block);
    this.#block = block;
    return fill === 0 ? this.u8(0) : this.bytes(new Array(PAGE).fill(fill));
  }
  end(devices = "devices"): this {
    return this.bytes([...new TextEncoder().encode(devices)]);
  }
  get all(): Uint8Array {
    return new Uint8Array(this.#parts.flat());
  }
}

/** What comes of it, read in pieces. */
async function read(bytes: Uint8Array, piece = 64 * 1024, memoryMiB = 1) {
  await using folder = new TempFolder();
  const ramPath = join(folder.path, "ram");
  const statePath = join(folder.path, "state");
  {
    const { signal } = new AbortController();
    using reader = new MigrationReader({ ramPath, statePath, memoryMiB, signal });
    let at = 0;
    await reader.read({
      read(into) {
        const part = bytes.subarray(at, at + Math.min(piece, into.length));
        into.set(part);
        at += part.length;
        return Promise.resolve(part.length === 0 ? null : part.length);
      },
    });
  }
  const { blocks } = await Deno.stat(ramPath);
  return { ram: await Deno.readFile(ramPath), state: await Deno.readFile(statePath), blocks };
}

/** The first byte of each page. */
function pages(ram: Uint8Array): Record<number, number> {
  const found: Record<number, number> = {};
  for (let at = 0; at < ram.length; at += PAGE) {
    const value = ram[at] ?? 0;
    assert.ok(ram.subarray(at, at + PAGE).every((byte) => byte === value));
    if (value !== 0) found[at / PAGE] = value;
  }
  return found;
}

Deno.test("MigrationReader writes the guest's pages to one file and all else to the other", async () => {
  const stream = new Stream().head().begin().section(2)
    .page(RAM, 0, 1).page(RAM, 1, 0).page(RAM, 7, 2).page("pc.bios", 0, 9).page(RAM, 8, 3).eos()
    .section(3).page(RAM, 8, 0).page(RAM, 0, 4).eos().end();
  const rest = new Stream().head().begin().section(2).page("pc.bios", 0, 9).eos()
    .section(3).eos().end();
  for (const piece of [1, 7, 4096, 100_000]) {
    const { ram, state, blocks } = await read(stream.all, piece);
    assert.equal(ram.length, MIB);
    assert.deepEqual(pages(ram), { 0: 4, 7: 2 });
    assert.deepEqual(state, rest.all);
    assert.ok(blocks !== null && blocks * 512 <= 8 * PAGE, `${blocks} blocks: it has no holes`);
  }
});

Deno.test("MigrationReader gives the memory that any order of pages leaves", async () => {
  const one = fc.tuple(fc.constantFrom(RAM, "pc.bios"), fc.nat(255), fc.nat(3), fc.boolean());
  await fc.assert(
    fc.asyncProperty(fc.array(one, { maxLength: 40 }), async (writes) => {
      const stream = new Stream().head().begin({ [RAM]: MIB, "pc.bios": MIB }).section(2);
      const model: Record<number, number> = {};
      for (const [block, number, fill, cut] of writes) {
        stream.page(block, number, fill);
        if (cut) stream.eos().section(2);
        if (block === RAM && fill > 0) model[number] = fill;
        else if (block === RAM) delete model[number];
      }
      const { ram } = await read(stream.eos().section(3).eos().end().all, 3000);
      assert.deepEqual(pages(ram), model);
    }),
    { numRuns: 30 },
  );
});

Deno.test("MigrationReader refuses a stream that ends anywhere before its devices", async () => {
  const whole = new Stream().head().begin().section(2).page(RAM, 0, 1).page("pc.bios", 0, 2).eos()
    .section(3).eos().all;
  for (let length = 0; length < whole.length; length += length < 200 ? 1 : 97) {
    await assert.rejects(
      read(whole.subarray(0, length)),
      /isn't as it is known/,
      `${length} bytes`,
    );
  }
  assert.equal((await read(whole)).ram.length, MIB);
});

const wrong: readonly (readonly [string, Stream])[] = [
  ["another head", new Stream().u32(1).u32(3)],
  ["another version", new Stream().u32(0x5145564d).u32(4)],
  ["another first section", new Stream().head().u8(1).u32(2).text("slirp").u32(0).u32(4)],
  ["no section", new Stream().head().u8(4)],
  ["a page beyond the end", new Stream().head().begin().section(2).page(RAM, 256, 1)],
  ["a page far beyond it", new Stream().head().begin().section(2).page(RAM, 2 ** 40 / PAGE, 1)],
  ["memory of another size", new Stream().head().begin({ [RAM]: 2 * MIB })],
  ["blocks without the guest's own", new Stream().head().begin({ memory: MIB })],
  ["a block without bytes", new Stream().head().begin({ x: 0, [RAM]: MIB })],
  ["pages of a kind that isn't known", new Stream().head().begin().section(2).u64(0x40)],
  ["a section of another id", new Stream().head().begin().u8(2).u32(3)],
  [
    "a page that isn't zero but filled",
    new Stream().head().begin().section(2)
      .u64(FLAG.ZERO).text(RAM).u8(7),
  ],
  ["another footer", new Stream().head().begin().section(3).u64(FLAG.EOS).u8(0x7e).u32(9)],
];
for (const [name, stream] of wrong) {
  Deno.test(`MigrationReader refuses ${name}`, async () => {
    const bytes = new Uint8Array([...stream.all, ...new Uint8Array(3 * PAGE)]);
    await assert.rejects(read(bytes), /isn't as it is known/);
  });
}
