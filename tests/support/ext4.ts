/**
 * Reads ext4 images back with e2fsprogs, which know nothing of our writer.
 *
 * @module
 */
import { join } from "node:path";
import { latin1 } from "./tar.ts";
import { TempFolder } from "./temp.ts";

/** One name in an image. Texts are latin-1: one character per byte. */
export interface Ext4Entry {
  readonly inode: number;
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly size: number;
  readonly seconds: number;
  readonly nanos: number;
  /** Symbolic link's. */
  readonly target: string | undefined;
  /** Of files up to 1 MiB. */
  readonly content: string | undefined;
  /** `MAJOR:MINOR` */
  readonly device: string | undefined;
  readonly attributes: Readonly<Record<string, string>>;
  /** 512-byte blocks. */
  readonly blocks: number;
  readonly flags: number;
}

const CONTENT_LIMIT = 1024 * 1024;

/** Complains with e2fsck's words unless it finds nothing to mend. */
export async function checkExt4(image: string): Promise<void> {
  const { code, stdout, stderr } = await new Deno.Command("e2fsck", {
    args: ["-fn", image],
    stdin: "null",
  }).output();
  if (code !== 0) {
    const text = new TextDecoder();
    throw new Error(`e2fsck: ${code}\n${text.decode(stdout)}${text.decode(stderr)}`);
  }
}

/** Every name of the image by its path without the first slash; the root is `""`. */
export async function readExt4(image: string): Promise<Map<string, Ext4Entry>> {
  return await readInodes(image, await listExt4(image));
}

/** Inode numbers of every name. */
export async function listExt4(image: string): Promise<Map<string, number>> {
  const inodes = new Map<string, number>([["", 2]]);
  let folders = [""];
  while (folders.length > 0) {
    const outputs = await debugfs(image, folders.map((path) => `ls -p <${inodes.get(path)}>`));
    const below: string[] = [];
    for (const [index, parent] of folders.entries()) {
      for (const [, inode, mode, name] of lines(outputs[index] ?? "")) {
        if (inode === undefined || mode === undefined || name === undefined) continue;
        if (inode === "0" || name === "." || name === "..") continue; // 0: an index block's
        const path = parent === "" ? name : `${parent}/${name}`;
        inodes.set(path, Number(inode));
        if (mode.startsWith("04")) below.push(path);
      }
    }
    folders = below;
  }
  return inodes;
}

function lines(output: string): IterableIterator<RegExpMatchArray> {
  return output.matchAll(/^\/(\d+)\/(\d+)\/-?\d+\/-?\d+\/(.*)\/\d*\/$/gm);
}

/** What is behind some of the names. */
export async function readInodes(
  image: string,
  inodes: ReadonlyMap<string, number>,
): Promise<Map<string, Ext4Entry>> {
  await using folder = new TempFolder();
  const numbers = [...new Set(inodes.values())];
  const stats = await debugfs(image, numbers.map((inode) => `stat <${inode}>`));
  const entries = new Map<number, Ext4Entry>();
  const dumps: string[] = [];
  for (const [index, inode] of numbers.entries()) {
    const entry = parseStat(stats[index] ?? "");
    entries.set(inode, entry);
    if ((entry.type === "regular" && entry.size <= CONTENT_LIMIT) || isSlowLink(entry)) {
      dumps.push(`dump <${inode}> ${join(folder.path, `${inode}`)}`);
    }
    for (const [at, name] of Object.keys(entry.attributes).entries()) {
      dumps.push(`ea_get -f ${join(folder.path, `${inode}.${at}`)} <${inode}> ${name}`);
    }
  }
  await debugfs(image, dumps);
  const whole = new Map<number, Ext4Entry>();
  for (const [inode, entry] of entries) whole.set(inode, await fill(entry, inode, folder.path));
  const result = new Map<string, Ext4Entry>();
  for (const [path, inode] of inodes) {
    const entry = whole.get(inode);
    if (entry) result.set(path, entry);
  }
  return result;
}

function isSlowLink(entry: Ext4Entry): boolean {
  return entry.type === "symlink" && entry.target === undefined;
}

async function fill(entry: Ext4Entry, inode: number, folder: string): Promise<Ext4Entry> {
  const content = await read(join(folder, `${inode}`));
  const attributes: Record<string, string> = {};
  for (const [at, name] of Object.keys(entry.attributes).entries()) {
    attributes[name] = await read(join(folder, `${inode}.${at}`)) ?? "";
  }
  if (isSlowLink(entry)) return { ...entry, attributes, target: content?.slice(0, entry.size) };
  return { ...entry, attributes, content };
}

async function read(path: string): Promise<string | undefined> {
  try {
    return bytesToText(await Deno.readFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function bytesToText(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 4096) {
    parts.push(String.fromCharCode(...bytes.subarray(at, at + 4096)));
  }
  return parts.join("");
}

function parseStat(text: string): Ext4Entry {
  const one = (pattern: RegExp) => pattern.exec(text)?.[1];
  const time = /^\s*mtime: 0x([0-9a-f]+):([0-9a-f]+)/m.exec(text);
  const extra = parseInt(time?.[2] ?? "0", 16);
  const attributes = /^Extended attributes:\n((?: {2}.*\n)*)/m.exec(text)?.[1] ?? "";
  return {
    inode: Number(one(/Inode: (\d+)/)),
    type: one(/Type: (\w+)/) ?? "",
    mode: parseInt(one(/Mode:\s+(\d+)/) ?? "", 8),
    uid: Number(one(/User:\s+(-?\d+)/)) >>> 0,
    gid: Number(one(/Group:\s+(-?\d+)/)) >>> 0,
    links: Number(one(/Links: (\d+)/)),
    size: Number(one(/Size: (\d+)/)),
    seconds: (parseInt(time?.[1] ?? "0", 16) | 0) + (extra & 3) * 2 ** 32,
    nanos: extra >>> 2,
    target: one(/^Fast link dest: "(.*)"$/m),
    content: undefined,
    device: one(/Device major\/minor number: (\d+:\d+)/)?.replace(/\b0+(?=\d)/g, ""),
    attributes: Object.fromEntries(
      [...attributes.matchAll(/^ {2}(\S+) \(\d+\)/gm)].map((match) => [match[1] ?? "", ""]),
    ),
    blocks: Number(one(/Blockcount: (\d+)/)),
    flags: parseInt(one(/Flags: 0x([0-9a-f]+)/) ?? "0", 16),
  };
}

/** Runs commands; the output of each. */
async function debugfs(image: string, commands: readonly string[]): Promise<string[]> {
  if (commands.length === 0) return [];
  await using folder = new TempFolder();
  const file = join(folder.path, "commands");
  await Deno.writeFile(file, latin1(commands.join("\n") + "\n"));
  const { success, stdout, stderr } = await new Deno.Command("debugfs", {
    args: ["-f", file, image],
    stdin: "null",
  }).output();
  if (!success) throw new Error(`debugfs: ${new TextDecoder().decode(stderr)}`);
  const outputs = bytesToText(stdout).split(/^debugfs: .*\n/m);
  return outputs.slice(1);
}
