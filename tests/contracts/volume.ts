/**
 * What every kind of volume must do. A test file calls {@link volumeContract} with the plugin and specs
 * that it knows; the suite asks it as the product does.
 */
import assert from "node:assert/strict";
import { HutchError, type Plugin, Runtime, type VolumeAnswer, type VolumeSpec } from "../../mod.ts";
import { PluginHost } from "../../src/plugin/host.ts";
import { checkVolumes } from "../../src/volumes/resolve.ts";
import { TempFolder } from "../support/temp.ts";

/** What a suite needs to know of the kind. */
export interface VolumeKind {
  readonly plugin: () => Plugin;
  /** A spec as text, and the same as an object; both at `/guest` and with files in `folder`. */
  readonly specs: (folder: string) => Promise<readonly [string, Exclude<VolumeSpec, string>]>;
  /** Adds options to the text. */
  readonly withOptions: (text: string, options: string) => string;
}

/** Asks a plugin alone, as a box's creation does. */
export async function askVolume(
  plugin: Plugin,
  spec: VolumeSpec,
): Promise<VolumeAnswer | undefined> {
  await using host = new PluginHost([plugin], {
    log: () => {},
    runtime: () => assert.fail("creation needs no runtime"),
    boxOf: () => undefined,
    record: () => {},
  });
  const signal = new AbortController().signal;
  return await host.ask("volume", { spec, start: undefined }, { signal });
}

/** Runs the suite. */
export function volumeContract(name: string, kind: VolumeKind): void {
  const { plugin, specs, withOptions } = kind;
  const test = (title: string, run: (folder: string) => Promise<void>) =>
    Deno.test(`volume ${name} ${title}`, async () => {
      await using folder = new TempFolder();
      await run(folder.path);
    });

  test("is the same as text and as an object", async (folder) => {
    const [text, object] = await specs(folder);
    const [one, other] = [await askVolume(plugin(), text), await askVolume(plugin(), object)];
    assert.ok(one);
    assert.equal(one.guestPath, "/guest");
    assert.deepEqual({ ...one, spec: undefined }, { ...other, spec: undefined });
  });

  test("records plain JSON that means the same", async (folder) => {
    for (const spec of await specs(folder)) {
      const [recorded = ""] = await checkVolumes([spec], ({ spec }) => askVolume(plugin(), spec));
      const kept: VolumeSpec = JSON.parse(JSON.stringify(recorded));
      assert.deepEqual(kept, recorded);
      const [again, first] = [await askVolume(plugin(), kept), await askVolume(plugin(), spec)];
      assert.deepEqual({ ...again, spec: undefined }, { ...first, spec: undefined });
    }
  });

  test("reads ro, noexec, nosuid and nodev", async (folder) => {
    const [text, object] = await specs(folder);
    const known = await askVolume(plugin(), withOptions(text, "ro,noexec,nosuid,nodev"));
    assert.partialDeepStrictEqual(known, { readOnly: true, noexec: true });
    const same = await askVolume(plugin(), { ...object, readOnly: true, noexec: true });
    assert.deepEqual({ ...same, spec: undefined }, { ...known, spec: undefined });
  });

  test("refuses options that it doesn't know", async (folder) => {
    const [text, object] = await specs(folder);
    for (const spec of [withOptions(text, "readnoly"), { ...object, readonly: true }]) {
      await assert.rejects(askVolume(plugin(), spec), (error: unknown) => {
        assert.ok(error instanceof Error && error.cause instanceof Error);
        assert.ok(error.cause instanceof HutchError && error.cause.code === "invalid_option");
        assert.match(error.message, /Cannot use volume/);
        return true;
      });
    }
  });

  test("leaves what it doesn't know to others, and makes nothing at creation", async (folder) => {
    for (const spec of ["nobodys-kind:x:/guest", { guest: "/guest", nobodysKind: 1 }]) {
      assert.equal(await askVolume(plugin(), spec), undefined);
    }
    await using runtime = await Runtime.open({ home: `${folder}/home` });
    const before = [...Deno.readDirSync(runtime.home)].map((entry) => entry.name).sort();
    for (const spec of await specs(folder)) await askVolume(plugin(), spec);
    assert.deepEqual([...Deno.readDirSync(runtime.home)].map((entry) => entry.name).sort(), before);
  });
}
