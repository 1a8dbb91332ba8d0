/**
 * Box files that are this machine's own, by way of the agent as an ordinary process.
 *
 * @module
 */
import { BoxFiles } from "../../src/box/files.ts";
import type { GuestClient } from "../../src/guest/client.ts";
import { until } from "../support/processes.ts";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";
import { NativeBox } from "./native.ts";

/** What the agent is built with. */
export const cc = needs("cc");
const USER = String(Deno.uid() ?? 0);

/** The files of this machine, by way of the agent. */
function filesOf(client: GuestClient, cwd: string): BoxFiles {
  const guest = () => Promise.resolve(client);
  return new BoxFiles({ name: () => "native", cwd: () => cwd, guest }, USER);
}

/** Where a test has its files. */
export interface FilesPlace {
  readonly fs: BoxFiles;
  /** A folder of this test's own. */
  readonly dir: string;
}

/** All that there is, in a list. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** Bytes that differ from place to place. */
export function noise(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 7 + (i >> 8) * 13 + (i >> 18)) & 0xff;
  return bytes;
}

/** Texts and single bytes, one after the other. */
export const bytesOf = (...parts: (string | number)[]) =>
  new Uint8Array(
    parts.flatMap((part) =>
      typeof part === "number" ? [part] : [...new TextEncoder().encode(part)]
    ),
  );

/** A step's name, and what it does. */
export type FilesCase = readonly [string, (place: FilesPlace) => Promise<void>];

/** Runs each case in a folder of its own; idle programs must go by themselves. */
export function testFiles(name: string, cases: readonly FilesCase[]): void {
  Deno.test(`${name}${cc.note}`, { ignore: cc.ignore }, async (test) => {
    await using box = await NativeBox.start();
    for (const [step, body] of cases) {
      await test.step(step, async () => {
        await using folder = new TempFolder();
        const dir = Deno.realPathSync(folder.path);
        await body({ fs: filesOf(box.client, dir), dir });
      });
    }
    await until(
      () => Promise.resolve(box.client.streams === 0),
      () => Promise.resolve(`${box.client.streams} programs go on`),
    );
  });
}
