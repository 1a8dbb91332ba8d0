/**
 * What the OCI image specification says of layers, written down a second time: a plain tree of
 * maps that knows nothing of tar, ext4 or the C helper. Texts are latin-1: one character per byte.
 *
 * @module
 */

/** What a name can stand for. */
export type Kind = "file" | "folder" | "symlink" | "char" | "block" | "fifo";

/** One entry of a layer, whatever way it is written. */
export interface LayerEntry {
  readonly path: string;
  readonly kind: Kind | "link";
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly seconds: number;
  readonly nanos: number;
  /** A file's. */
  readonly content: string;
  /** A symbolic or hard link's. */
  readonly target: string;
  /** A device's, `MAJOR:MINOR`. */
  readonly device: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** A layer that the specification doesn't allow. */
export class Refused extends Error {
  override readonly name = "Refused";
}

/** What a name stands for. */
export interface Inode {
  kind: Kind;
  mode: number;
  uid: number;
  gid: number;
  seconds: number;
  nanos: number;
  content: string;
  target: string;
  device: string;
  attributes: Readonly<Record<string, string>>;
  readonly children: Map<string, Name>;
}

/** A name in a folder, and the layer that put it there last. */
interface Name {
  inode: Inode;
  layer: number;
}

const IMPLIED = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  seconds: 0,
  nanos: 0,
  content: "",
  target: "",
  device: "",
  attributes: {},
} as const;

/** A tree that layers are applied to. */
export class LayerModel {
  readonly #root: Inode = { kind: "folder", ...IMPLIED, children: new Map() };
  #layer = 0;

  /** Everything from here on belongs to the next layer. */
  beginLayer(): void {
    this.#layer++;
  }

  /** Throws {@link Refused}. */
  apply(entry: LayerEntry): void {
    const parts = partsOf(entry.path);
    if (parts.includes("..")) throw new Refused("..");
    const above = parts.slice(0, -1);
    if (above.some((part) => part.length > 255)) throw new Refused("long name");
    if (above.some((part) => part.startsWith(".wh..wh."))) return;
    if (above.some((part) => part.startsWith(".wh."))) throw new Refused("whiteout as a folder");
    const name = parts.at(-1);
    if (name === undefined) return this.#applyRoot(entry);
    if (name.startsWith(".wh.")) return this.#applyWhiteout(above, name.slice(4));
    if (name.length > 255) throw new Refused("long name");
    const folder = this.#find(above, true);
    if (!folder) throw new Error("a folder that is made is there");
    if (entry.kind === "link") return this.#applyLink(folder, name, entry.target);
    const old = folder.children.get(name);
    const kept = entry.kind === "folder" && old?.inode.kind === "folder" ? old.inode : undefined;
    const inode = kept ?? { kind: entry.kind, ...IMPLIED, children: new Map() };
    fill(inode, entry);
    if (!kept) folder.children.delete(name);
    folder.children.set(name, { inode, layer: this.#layer });
  }

  /** Every name by its path without the first slash; the root is `""`. */
  names(): Map<string, Inode> {
    const found = new Map<string, Inode>();
    const visit = (path: string, inode: Inode) => {
      found.set(path, inode);
      for (const [name, { inode: child }] of inode.children) {
        visit(path === "" ? name : `${path}/${name}`, child);
      }
    };
    visit("", this.#root);
    return found;
  }

  #applyRoot(entry: LayerEntry): void {
    if (entry.kind !== "folder") throw new Refused("the root isn't a folder");
    fill(this.#root, entry);
  }

  #applyWhiteout(above: readonly string[], hidden: string): void {
    const folder = this.#find(above, false);
    if (!folder) return;
    if (hidden === ".wh..opq") {
      for (const name of [...folder.children.keys()]) this.#hide(folder, name);
      return;
    }
    if (hidden.startsWith(".wh.")) return;
    const nameless = hidden === "" || hidden === "." || hidden === "..";
    if (nameless || hidden.length > 255) throw new Refused("no name");
    this.#hide(folder, hidden);
  }

  /** Takes away what lower layers left at a name and below. */
  #hide(folder: Inode, name: string): void {
    const found = folder.children.get(name);
    if (!found) return;
    const { inode } = found;
    for (const below of [...inode.children.keys()]) this.#hide(inode, below);
    if (found.layer === this.#layer) return;
    if (inode.children.size === 0) {
      folder.children.delete(name);
      return;
    }
    Object.assign(inode, IMPLIED);
    found.layer = this.#layer;
  }

  #applyLink(folder: Inode, name: string, target: string): void {
    const parts = partsOf(target);
    if (parts.includes("..")) throw new Refused("..");
    const from = this.#find(parts.slice(0, -1), false);
    const inode = from?.children.get(parts.at(-1) ?? "")?.inode;
    if (!inode || inode.kind === "folder") throw new Refused("no file to link to");
    const old = folder.children.get(name);
    if (old && old.inode !== inode) {
      folder.children.delete(name);
      if (![...this.names().values()].includes(inode)) {
        throw new Refused("links into what it hides");
      }
    }
    folder.children.set(name, { inode, layer: this.#layer });
  }

  /** The folder at a path, as a program that has this tree for its root would see it. */
  #find(parts: readonly string[], make: boolean): Inode | undefined {
    const way = [this.#root];
    const rest = [...parts];
    for (let part = rest.shift(), links = 0; part !== undefined; part = rest.shift()) {
      if (part === "" || part === ".") continue;
      if (part === "..") {
        if (way.length > 1) way.pop();
        continue;
      }
      const folder = way.at(-1) ?? this.#root;
      let inode = folder.children.get(part)?.inode;
      if (!inode) {
        if (!make) return undefined;
        inode = { kind: "folder", ...IMPLIED, children: new Map() };
        folder.children.set(part, { inode, layer: this.#layer });
      }
      if (inode.kind === "symlink") {
        if (++links > 40) throw new Refused("a loop of symbolic links");
        if (inode.target.startsWith("/")) way.length = 1;
        rest.unshift(...inode.target.split("/"));
      } else if (inode.kind === "folder") {
        way.push(inode);
      } else if (make) {
        throw new Refused("a file as a folder");
      } else {
        return undefined;
      }
    }
    return way.at(-1);
  }
}

/** Layers as tests have them: entries with whatever belongs to each. */
export type LayersOf<E extends { readonly entry: LayerEntry }> = readonly (readonly E[])[];

/** The model of the layers; undefined when they aren't allowed. */
export function modelOf(layers: LayersOf<{ readonly entry: LayerEntry }>): LayerModel | undefined {
  const model = new LayerModel();
  try {
    for (const layer of layers) {
      model.beginLayer();
      for (const { entry } of layer) model.apply(entry);
    }
  } catch (error) {
    if (error instanceof Refused) return undefined;
    throw error;
  }
  return model;
}

/** The layers without the entries that aren't allowed where they stand. */
export function onlyAllowed<E extends { readonly entry: LayerEntry }>(
  layers: LayersOf<E>,
): LayersOf<E> {
  const kept: E[][] = [];
  for (const layer of layers) {
    const some: E[] = [];
    kept.push(some);
    for (const one of layer) {
      some.push(one);
      if (!modelOf(kept)) some.pop();
    }
  }
  return kept;
}

function fill(inode: Inode, entry: LayerEntry): void {
  const { uid, gid, seconds, nanos, content, target, device, attributes } = entry;
  const mode = inode.kind === "symlink" ? 0o777 : entry.mode;
  Object.assign(inode, { mode, uid, gid, seconds, nanos, content, target, device, attributes });
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}
