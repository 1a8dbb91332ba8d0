import assert from "node:assert/strict";
import { join } from "node:path";
import type { VolumeAnswer, VolumeSpec } from "../../mod.ts";
import { PluginHost } from "../../src/plugin/host.ts";
import { hostVolume } from "../../plugins/volumes/host.ts";

const HOME = Deno.env.get("HOME") ?? "";

async function answer(spec: VolumeSpec): Promise<VolumeAnswer | undefined> {
  await using host = new PluginHost([hostVolume()], {
    log: () => {},
    runtime: () => assert.fail("it needs no runtime"),
    boxOf: () => undefined,
    record: () => {},
  });
  const signal = new AbortController().signal;
  return await host.ask("volume", { spec, start: undefined }, { signal });
}

const good: readonly (readonly [VolumeSpec, string, string, boolean])[] = [
  ["/srv:/data", "/srv", "/data", false],
  ["/srv:/data:ro", "/srv", "/data", true],
  ["/srv:/data:rw", "/srv", "/data", false],
  ["./a:/data", join(Deno.cwd(), "a"), "/data", false],
  ["../a:/data", join(Deno.cwd(), "../a"), "/data", false],
  [".:/data", Deno.cwd(), "/data", false],
  ["..:/data", join(Deno.cwd(), ".."), "/data", false],
  ["~:/data", HOME, "/data", false],
  ["~/a/../b:/data", join(HOME, "b"), "/data", false],
  ["/a b/ü,=:/data", "/a b/ü,=", "/data", false],
  [{ host: "/a:b", guest: "/data" }, "/a:b", "/data", false],
  [{ host: "./a", guest: "/data", readOnly: true }, join(Deno.cwd(), "a"), "/data", true],
];

for (const [spec, host, guest, readOnly] of good) {
  Deno.test(`hostVolume reads ${JSON.stringify(spec)}`, async () => {
    assert.deepEqual(await answer(spec), {
      hostPath: host,
      guestPath: guest,
      readOnly,
      spec: { host, guest, readOnly },
    });
  });
}

for (
  const spec of [
    "name:/data",
    "tmpfs:/data",
    "git:/srv/x.git#main:/src",
    ".hidden:/data",
    "~user:/data",
    "...:/data",
    "",
    { guest: "/data" },
    { git: "https://example.org/x.git", guest: "/src" },
  ]
) {
  Deno.test(`hostVolume leaves ${JSON.stringify(spec)} to other plugins`, async () => {
    assert.equal(await answer(spec), undefined);
  });
}

const bad: readonly (readonly [VolumeSpec, RegExp])[] = [
  ["/srv", /"\/srv": it has no path in the box/],
  ["/srv:", /it has no path in the box/],
  ["/srv:/data:rx", /"rx" is neither "ro" nor "rw"/],
  ["/srv:/data:", /"" is neither/],
  ["/srv:/da:ta:ro", /too many colons/],
  ["/s\0rv:/data", /NUL/],
  [{ host: "srv", guest: "/data" }, /"srv", doesn't begin with/],
  [{ host: 7, guest: "/data" }, /not both text/],
  [{ host: "/srv", guest: "/data", readonly: true }, /"readonly" is not an option/],
  [{ host: "/srv", guest: "/data", readOnly: "no" }, /neither true nor false/],
];

for (const [spec, why] of bad) {
  Deno.test(`hostVolume refuses ${JSON.stringify(spec)}`, async () => {
    await assert.rejects(answer(spec), (error: unknown) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, /^Cannot use volume .*plugin "host_volume"/);
      assert.match(error.message, why);
      return true;
    });
  });
}

Deno.test("hostVolume says that ~ stands for nothing without HOME", async () => {
  Deno.env.delete("HOME");
  try {
    await assert.rejects(answer("~/a:/data"), /HOME, which ~ stands for, is not set/);
  } finally {
    Deno.env.set("HOME", HOME);
  }
});
