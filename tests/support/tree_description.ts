/**
 * A model's tree and a disk's in the same words, to be compared name by name.
 *
 * @module
 */
import type { Ext4Entry } from "./ext4.ts";
import type { Kind, LayerModel } from "./layer_model.ts";

/** The same words for a name in the model and on the disk; equal when they are the same. */
export type Described = Readonly<Record<string, string | number>>;

/** What the model says that a disk must have. */
export function describeModel(model: LayerModel): Map<string, Described> {
  const names = model.names();
  const groups = groupsOf([...names].map(([path, inode]) => [path, inode]));
  const described = new Map<string, Described>();
  for (const [path, inode] of names) {
    const { kind, mode, uid, gid, content, attributes } = inode;
    const folders = [...inode.children.values()].filter((name) => name.inode.kind === "folder");
    described.set(path, {
      kind,
      mode: mode.toString(8),
      owner: `${uid}:${gid}`,
      time: storedTime(inode.seconds, inode.nanos),
      same: groups.get(path)?.join(" ") ?? "",
      links: kind === "folder" ? 2 + folders.length : groups.get(path)?.length ?? 0,
      ...(kind === "file" ? { size: content.length, content } : {}),
      ...(kind === "symlink" ? { target: inode.target } : {}),
      ...(kind === "char" || kind === "block" ? { device: inode.device } : {}),
      attributes: attributeText(
        Object.entries(attributes).map(([name, value]) => [name, storedValue(name, value)]),
      ),
    });
  }
  return described;
}

const KINDS: Readonly<Record<string, Kind>> = {
  regular: "file",
  directory: "folder",
  symlink: "symlink",
  character: "char",
  block: "block",
  FIFO: "fifo",
};

/** What a disk has. */
export function describeDisk(entries: ReadonlyMap<string, Ext4Entry>): Map<string, Described> {
  const groups = groupsOf([...entries].map(([path, { inode }]) => [path, inode]));
  const described = new Map<string, Described>();
  for (const [path, entry] of entries) {
    const kind = KINDS[entry.type] ?? entry.type;
    described.set(path, {
      kind,
      mode: entry.mode.toString(8),
      owner: `${entry.uid}:${entry.gid}`,
      time: `${entry.seconds}+${entry.nanos}`,
      same: groups.get(path)?.join(" ") ?? "",
      links: entry.links,
      ...(kind === "file" ? { size: entry.size, content: entry.content ?? "" } : {}),
      ...(kind === "symlink" ? { target: entry.target ?? "" } : {}),
      ...(kind === "char" || kind === "block" ? { device: entry.device ?? "" } : {}),
      attributes: attributeText(Object.entries(entry.attributes)),
    });
  }
  return described;
}

/** The names of the same inode, for each name. */
function groupsOf(names: readonly (readonly [string, unknown])[]): Map<string, string[]> {
  const byInode = new Map<unknown, string[]>();
  for (const [path, inode] of names) {
    const group = byInode.get(inode) ?? [];
    group.push(path);
    byInode.set(inode, group);
  }
  return new Map(names.map(([path, inode]) => [path, byInode.get(inode)?.sort() ?? []]));
}

function attributeText(attributes: readonly (readonly [string, string])[]): string {
  return attributes.map(([name, value]) => `${name}=${JSON.stringify(value)}`).sort().join(" ");
}

/** ext4's times are of 34 bits, from 1901 on. */
function storedTime(seconds: number, nanos: number): string {
  const [earliest, latest] = [-(2 ** 31), 2 ** 34 - 2 ** 31 - 1];
  if (seconds < earliest) return `${earliest}+0`;
  return seconds > latest ? `${latest}+0` : `${seconds}+${nanos}`;
}

/** ext4's lists have ids only where they mean something; e2fsprogs then reads 0 elsewhere. */
function storedValue(name: string, value: string): string {
  if (!name.startsWith("system.posix_acl_")) return value;
  const entries = value.slice(4).match(/[^]{8}/g) ?? [];
  const named = ["\x02", "\x08"]; // a user, a group
  return value.slice(0, 4) +
    entries.map((one) => named.includes(one[0] ?? "") ? one : `${one.slice(0, 4)}\0\0\0\0`)
      .join("");
}
