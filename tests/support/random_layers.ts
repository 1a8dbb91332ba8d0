/**
 * Random layers for property tests: entries as {@link LayerEntry}, each written in a random way.
 *
 * @module
 */
import { fc } from "../deps.ts";
import type { LayerEntry } from "./layer_model.ts";
import { type Dialect, write, type WrittenEntry } from "./layer_writer.ts";

const owner = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.nat(0o7777777) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xfffffffe }) },
);
const seconds = fc.oneof(
  { weight: 2, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 2 ** 31 - 1 }) },
  { weight: 1, arbitrary: fc.maxSafeInteger().map((n) => n % 2 ** 35) },
);
const nanos = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 999_999_999 }));

const bytes = fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 40 })
  .map((codes) => String.fromCharCode(...codes));
const acl = fc.record({ mode: fc.nat(7), user: fc.nat(70_000), more: fc.boolean() })
  .map(({ mode, user, more }) => {
    const one = (tag: number, id: number) =>
      `${String.fromCharCode(tag)}\0${String.fromCharCode(mode)}\0${little(id)}`;
    const named = more ? one(2, user) : "";
    return `${little(2)}${one(1, -1)}${named}${one(4, -1)}${one(16, -1)}${one(32, -1)}`;
  });
const attributes = fc.oneof(
  { weight: 4, arbitrary: fc.constant({}) },
  {
    weight: 1,
    arbitrary: fc.record({
      "user.a": bytes,
      "user.long-name": fc.constant("v".repeat(700)),
      "trusted.overlay.x": bytes,
      "security.capability": fc.constant("\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
      "system.posix_acl_access": acl,
    }, { requiredKeys: [] }),
  },
);

const content = fc.tuple(
  fc.constantFrom("x", "y", "\0", "\xe9"),
  fc.oneof(fc.nat(20), fc.nat(20_000)),
).map(([letter, length]) => letter.repeat(length));
/** Where data is and isn't, in 512-byte blocks. */
const pattern = fc.array(fc.tuple(fc.nat(20), fc.nat(3)), { minLength: 1, maxLength: 6 });

const kind = fc.constantFrom<LayerEntry["kind"]>(
  ...["file", "file", "file", "file", "folder", "folder", "symlink", "link", "link"] as const,
  ...["char", "block", "fifo"] as const,
);
const dialect = fc.record<Dialect>({
  path: fc.constantFrom("header", "prefix", "pax", "gnu"),
  before: fc.constantFrom("", "./", "/"),
  numbers: fc.constantFrom("header", "pax"),
  sparse: fc.constantFrom("none", "none", "none", "old", "0.0", "0.1", "1.0"),
});

const odd = fc.constantFrom(
  ".wh.",
  ".wh..",
  ".wh...",
  ".wh..wh.aufs",
  ".wh..wh.plnk/x",
  ".wh.a/b",
  "a/../b",
).map((path) => write({ ...PLAIN, path }, PLAIN_DIALECT, []));

const root = fc.record({ mode: fc.nat(0o7777), uid: owner, attributes })
  .map((some) => write({ ...PLAIN, ...some, path: ".", kind: "folder" }, PLAIN_DIALECT, []));

const PLAIN: LayerEntry = {
  path: "",
  kind: "file",
  mode: 0o644,
  uid: 0,
  gid: 0,
  seconds: 0,
  nanos: 0,
  content: "",
  target: "",
  device: "",
  attributes: {},
};
const PLAIN_DIALECT: Dialect = { path: "header", before: "", numbers: "header", sparse: "none" };

/** Layers, the lowest first. The fewer letters, the more the layers meet. */
export function randomLayers(letters: string): fc.Arbitrary<readonly (readonly WrittenEntry[])[]> {
  const name = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...letters) },
    { weight: 2, arbitrary: fc.constantFrom("\xff\xe9 ", "K\xc3\xa4se", ".hidden", ".wha") },
    { weight: 1, arbitrary: fc.constant("long-".repeat(51)) },
  );
  const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
  const target = fc.oneof(path, path.map((to) => `/${to}`), path.map((to) => `../${to}`));
  const ordinary = fc.record({
    entry: fc.record<LayerEntry>({
      path,
      kind,
      mode: fc.nat(0o7777),
      uid: owner,
      gid: owner,
      seconds,
      nanos,
      content,
      target,
      device: fc.tuple(fc.nat(0xfff), fc.nat(0xfffff)).map((pair) => pair.join(":")),
      attributes,
    }),
    dialect,
    pattern,
  }).map(({ entry, dialect, pattern }) => write(entry, dialect, pattern));
  const whiteout = fc.tuple(
    fc.array(name, { maxLength: 3 }),
    fc.oneof(name.map((hidden) => `.wh.${hidden}`), fc.constant(".wh..wh..opq")),
    dialect,
  ).map(([above, last, dialect]) =>
    write({ ...PLAIN, path: [...above, last].join("/") }, dialect, [])
  );
  const entry = fc.oneof(
    { weight: 40, arbitrary: ordinary },
    { weight: 10, arbitrary: whiteout },
    { weight: 1, arbitrary: root },
  );
  return fc.array(fc.array(entry, { maxLength: 25, size: "max" }), {
    minLength: 1,
    maxLength: 5,
    size: "max",
  });
}

/** Layers with an entry somewhere that may not be allowed. */
export function oddLayers(letters: string): fc.Arbitrary<readonly (readonly WrittenEntry[])[]> {
  return fc.tuple(randomLayers(letters), fc.nat(), odd).map(([layers, at, one]) =>
    layers.map((layer, index) => index === at % layers.length ? layer.toSpliced(at, 0, one) : layer)
  );
}

function little(value: number): string {
  return String.fromCharCode(
    ...[value & 0xff, value >> 8 & 0xff, value >> 16 & 0xff, value >>> 24],
  );
}
