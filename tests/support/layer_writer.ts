/**
 * Ways to write an entry of a layer in a tar archive: as old and new tars, pax and GNU do.
 *
 * @module
 */
import type { LayerEntry } from "./layer_model.ts";
import { type TarFields, writeTar } from "./tar.ts";

/** An entry and how its archive says it. */
export interface WrittenEntry {
  readonly entry: LayerEntry;
  readonly fields: TarFields;
}

/** Ways to say a thing that has several; which are taken depends on what fits. */
export interface Dialect {
  readonly path: "header" | "prefix" | "pax" | "gnu";
  readonly before: "" | "./" | "/";
  readonly numbers: "header" | "pax";
  readonly sparse: "none" | "old" | "0.0" | "0.1" | "1.0";
}

/** A layer's archive. */
export function archive(layer: readonly WrittenEntry[]): Uint8Array<ArrayBuffer> {
  return writeTar(...layer.map(({ fields }) => fields));
}

const TYPES = { file: "0", link: "1", symlink: "2", char: "3", block: "4", folder: "5", fifo: "6" };

/**
 * An entry as a dialect says it.
 *
 * @param pattern Where a sparse file has data and where not, in 512-byte blocks: a hole, then data.
 */
export function write(
  given: LayerEntry,
  dialect: Dialect,
  pattern: readonly (readonly [number, number])[],
): WrittenEntry {
  const sparse = given.kind === "file" && dialect.sparse !== "none" && pattern.length > 0
    ? sparseFile(pattern)
    : undefined;
  const entry = sparse ? { ...given, content: sparse.content } : given;
  const { kind, mode, content, attributes } = entry;
  const records: [string, string][] = Object.entries(attributes)
    .map(([name, value]) => [`SCHILY.xattr.${name}`, value]);
  let fields: TarFields = {
    path: "",
    type: TYPES[kind],
    mode,
    ...(kind === "file" ? { data: content } : {}),
    ...numbers(entry, dialect, records),
  };
  if (kind === "char" || kind === "block") {
    const [major = 0, minor = 0] = entry.device.split(":").map(Number);
    fields = { ...fields, major, minor };
  }
  const full = `${dialect.before}${entry.path}${kind === "folder" ? "/" : ""}`;
  fields = { ...fields, ...names(full, kind, entry.target, dialect, records) };
  if (sparse) fields = { ...fields, ...sparseFields(dialect.sparse, sparse, full, records) };
  return { entry: withoutUnsaid(entry, dialect), fields: { ...fields, records } };
}

/** Only a pax header has parts of seconds. */
function withoutUnsaid(entry: LayerEntry, { numbers }: Dialect): LayerEntry {
  return numbers === "pax" ? entry : { ...entry, nanos: 0 };
}

function numbers(
  { uid, gid, seconds, nanos }: LayerEntry,
  dialect: Dialect,
  records: [string, string][],
): Partial<TarFields> {
  if (dialect.numbers === "header") return { uid, gid, mtime: seconds };
  records.push(["uid", `${uid}`], ["gid", `${gid}`], ["mtime", timeText(seconds, nanos)]);
  return {};
}

function timeText(seconds: number, nanos: number): string {
  const fraction = (n: number) => n === 0 ? "" : `.${`${n}`.padStart(9, "0")}`;
  if (seconds >= 0 || nanos === 0) return `${seconds}${fraction(nanos)}`;
  return `-${-seconds - 1}${fraction(1e9 - nanos)}`;
}

function names(
  path: string,
  kind: LayerEntry["kind"],
  target: string,
  dialect: Dialect,
  records: [string, string][],
): Partial<TarFields> & { readonly path: string } {
  const linked = kind === "link" || kind === "symlink";
  let link: Partial<TarFields> = linked ? { link: target } : {};
  if (linked && target.length > 100) {
    if (dialect.path === "gnu") link = { gnuLink: target };
    else records.push(["linkpath", target]);
  }
  const slash = path.lastIndexOf("/", path.length - 2);
  const [above, last] = [path.slice(0, Math.max(slash, 0)), path.slice(slash + 1)];
  // Where a prefix would be, old sparse files have their size.
  const roomy = dialect.path === "prefix" && dialect.sparse !== "old";
  if (roomy && above !== "" && above.length <= 155 && last.length <= 100) {
    return { ...link, path: last, raw: { 345: above } };
  }
  if (dialect.path === "gnu") return { ...link, path: "cut short", gnuPath: path };
  if (dialect.path !== "pax" && path.length <= 100) return { ...link, path };
  records.push(["path", path]);
  return { ...link, path: "cut short" };
}

interface Sparse {
  readonly content: string;
  /** Offset and length, one pair after the other. */
  readonly map: readonly number[];
  readonly data: string;
}

function sparseFile(pattern: readonly (readonly [number, number])[]): Sparse {
  const map: number[] = [];
  let [text, data] = ["", ""];
  for (const [hole, filled] of pattern) {
    text += "\0".repeat(hole * 512);
    map.push(text.length, filled * 512);
    text += "z".repeat(filled * 512);
    data += "z".repeat(filled * 512);
  }
  const content = `${text}\0\0\0`;
  return { content, map: [...map, content.length, 0], data };
}

function sparseFields(
  format: Dialect["sparse"],
  { content, map, data }: Sparse,
  path: string,
  records: [string, string][],
): Partial<TarFields> {
  const size = `${content.length}`;
  const pairs = Array.from({ length: map.length / 2 }, (_, at) => map.slice(at * 2, at * 2 + 2));
  if (format === "old") return oldSparse(content.length, map, data);
  if (format === "0.0") {
    records.push(["GNU.sparse.size", size], ["GNU.sparse.numblocks", `${pairs.length}`]);
    for (const [offset, length] of pairs) {
      records.push(["GNU.sparse.offset", `${offset}`], ["GNU.sparse.numbytes", `${length}`]);
    }
    return { data };
  }
  records.push(["GNU.sparse.name", path]);
  if (format === "0.1") {
    records.push(["GNU.sparse.size", size], ["GNU.sparse.map", map.join(",")]);
    return { data };
  }
  records.push(["GNU.sparse.major", "1"], ["GNU.sparse.minor", "0"]);
  records.push(["GNU.sparse.realsize", size]);
  const text = [pairs.length, ...map].map((number) => `${number}\n`).join("");
  return { data: text.padEnd(Math.ceil(text.length / 512) * 512, "\0") + data };
}

/** Four pairs fit in the header, which then has no room for a prefix; the rest comes behind it. */
function oldSparse(size: number, map: readonly number[], data: string): Partial<TarFields> {
  const octal = (value: number) => `${value.toString(8).padStart(11, "0")}\0`;
  const fields = map.map(octal);
  const more = fields.slice(8);
  const block = more.length === 0 ? "" : more.join("").padEnd(512, "\0");
  return {
    type: "S",
    data: block + data,
    size: data.length,
    raw: {
      386: fields.slice(0, 8).join(""),
      482: more.length === 0 ? "\0" : "\x01",
      483: octal(size),
    },
  };
}
