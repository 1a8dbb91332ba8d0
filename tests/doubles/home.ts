/**
 * Homes for boxes of the engine double that have their image already: pulling it and making its base
 * disk takes longer than a box's whole life there.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type BoxOptions, Runtime } from "../../mod.ts";
import { engineDouble } from "./engine.ts";

/** A box of the engine double. */
export const DOUBLE_BOX = {
  image: "builtin:busybox",
  memory: 128,
  disk: 64,
  engine: "double",
} satisfies BoxOptions;

const TEMPLATE = join(Deno.env.get("TMPDIR") ?? "/tmp", `hutch-double-${Deno.pid}`);
let template: Promise<void> | undefined;

/** Makes a home with the image in it; whoever asks removes it. */
export async function makeDoubleHome(): Promise<string> {
  await (template ??= makeTemplate());
  return await copyHome(TEMPLATE);
}

/** Copies a home that nobody has open; whoever asks removes it. */
export async function copyHome(from: string): Promise<string> {
  const home = await Deno.makeTempDir({ prefix: "hutch-life-" });
  const { code, stderr } = await new Deno.Command("cp", {
    args: ["-a", "--sparse=always", "--reflink=auto", `${from}/.`, home],
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return home;
}

async function makeTemplate(): Promise<void> {
  await Deno.mkdir(TEMPLATE);
  globalThis.addEventListener("unload", () => Deno.removeSync(TEMPLATE, { recursive: true }));
  await using runtime = await Runtime.open({ home: TEMPLATE, plugins: [engineDouble()] });
  const box = await runtime.create(DOUBLE_BOX);
  await box.remove();
}
