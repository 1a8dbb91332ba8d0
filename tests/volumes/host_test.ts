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

const good: readonly (readonly [VolumeSpec, string, string, object])[] = [
  ["/srv:/data", "/srv", "/data", {}],
  ["/srv:/data:ro", "/srv", "/data", { readOnly: true }],
  ["/srv:/data:rw", "/srv", "/data", { readOnly: false }],
  ["/srv:/data:ro,noexec,nosuid,nodev", "/srv", "/data", { readOnly: true, noexec: true }],
  ["/srv:/data:owner=keep", "/srv", "/data", { owner: "keep" }],
  ["/srv:/data:ro,owner=7:8", "/srv", "/data", { readOnly: true, owner: { uid: 7, gid: 8 } }],
  ["/srv:/data:owner=7:8,noexec", "/srv", "/data", { noexec: true, owner: { uid: 7, gid: 8 } }],
  ["./a:/data", join(Deno.cwd(), "a"), "/data", {}],
  ["../a:/data", join(Deno.cwd(), "../a"), "/data", {}],
  [".:/data", Deno.cwd(), "/data", {}],
  ["..:/data", join(Deno.cwd(), ".."), "/data", {}],
  ["~:/data", HOME, "/data", {}],
  ["~/a/../b:/data", join(HOME, "b"), "/data", {}],
  ["/a b/ü,=:/data", "/a b/ü,=", "/data", {}],
  [{ host: "/a:b", guest: "/data" }, "/a:b", "/data", {}],
  [{ host: "./a", guest: "/data", readOnly: true }, join(Deno.cwd(), "a"), "/data", {
    readOnly: true,
  }],
  [{ host: "/a", guest: "/data", noexec: true, nodev: true }, "/a", "/data", { noexec: true }],
  [{ host: "/a", guest: "/b", owner: { uid: 1, gid: 2 } }, "/a", "/b", {
    owner: { uid: 1, gid: 2 },
  }],
];

for (const [spec, host, guest, how] of good) {
  Deno.test(`hostVolume reads ${JSON.stringify(spec)}`, async () => {
    const known = await answer(spec);
    assert.deepEqual(known, {
      hostPath: host,
      guestPath: guest,
      ...how,
      spec: { host, guest, ...how },
    });
    assert.deepEqual(await answer(known?.spec ?? ""), known);
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
  ["/srv:/data:rx", /"rx" is not one of its options: ro, rw/],
  ["/srv:/data:", /"" is not one/],
  ["/srv:/data:ro,rw", /"rw" says again what another/],
  ["/srv:/data:size=1m", /"size=1m" is not one/],
  ["/srv:/data:owner=me", /neither keep nor UID:GID/],
  ["/srv:/data:owner=1", /neither keep nor UID:GID/],
  ["/srv:/da:ta:ro", /too many colons/],
  ["/s\0rv:/data", /NUL/],
  [{ host: "srv", guest: "/data" }, /"srv", doesn't begin with/],
  [{ host: 7, guest: "/data" }, /host is no text/],
  [{ host: "/srv", guest: "/data", owner: "root" }, /neither "keep" nor \{ uid, gid \}/],
  [{ host: "/srv", guest: "/data", owner: { uid: 1 } }, /neither "keep" nor \{ uid, gid \}/],
  [{ host: "/srv", guest: "/data", nosuid: false }, /every volume is nosuid/],
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
