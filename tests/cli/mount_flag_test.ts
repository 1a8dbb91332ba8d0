import assert from "node:assert/strict";
import { parseMount, parseTmpfs } from "../../src/cli/mount_flag.ts";

for (
  const [text, spec] of [
    ["type=bind,source=/a,target=/b", { host: "/a", guest: "/b" }],
    ["type=bind,src=./a:b,dst=/b,readonly", { host: "./a:b", guest: "/b", readOnly: true }],
    ["ro=1,destination=/b=c,source=/a,type=bind", { host: "/a", guest: "/b=c", readOnly: true }],
    ["type=bind,source=/a,target=/b,readonly=false", { host: "/a", guest: "/b", readOnly: false }],
    ["type=bind,source=/a,target=/b,owner=keep", { host: "/a", guest: "/b", owner: "keep" }],
    ["type=bind,source=/a,target=/b,owner=7:8", {
      host: "/a",
      guest: "/b",
      owner: { uid: 7, gid: 8 },
    }],
    ["type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770,noexec=false", {
      tmpfs: true,
      guest: "/t",
      size: "64m",
      mode: 0o1770,
      noexec: false,
    }],
    ["source=name,target=/b", { volume: "name", guest: "/b" }],
    ["type=disk,source=./a,target=/b,format=raw,nosuid", {
      disk: "./a",
      guest: "/b",
      format: "raw",
      nosuid: true,
    }],
  ] as const
) {
  Deno.test(`parseMount reads ${text}`, () => {
    assert.deepEqual(parseMount(text), spec);
  });
}

Deno.test("parseTmpfs reads a path and options, and refuses what has no path", () => {
  assert.equal(parseTmpfs("/t"), "tmpfs:/t");
  assert.equal(parseTmpfs("/t:size=64m,exec"), "tmpfs:/t:size=64m,exec");
  assert.throws(() => parseTmpfs("t"), { code: "invalid_option", message: /has no "\/" first/ });
});

for (
  const [text, why] of [
    ["", /"" is not a part/],
    ["type=npipe,source=a,target=/b", /its type is npipe, not one of bind, volume, disk, tmpfs/],
    ["type=tmpfs,source=a,target=/b", /a tmpfs has no source/],
    ["type=tmpfs,target=/b,tmpfs-mode=9", /tmpfs-mode is "9", not octal/],
    ["type=bind,source=/a,target=/b,tmpfs-size=1m", /"size" is not a part of a bind/],
    ["type=bind,source=/a,target=/b,owner=me", /neither keep nor UID:GID/],
    ["type=bind,target=/b", /no source/],
    ["type=bind,source=,target=/b", /no source/],
    ["type=bind,source=/a", /no target/],
    ["type=bind,source=/a,target=/b,readonly=yes", /"yes", neither true nor false/],
    ["type=bind,source=/a,src=/c,target=/b", /"src" is there twice/],
    ["type=bind,source,target=/b", /"source" has no value/],
    ["type=bind,source=/a,target=/b,toString", /"toString" is not a part/],
  ] as const
) {
  Deno.test(`parseMount refuses ${JSON.stringify(text)}`, () => {
    assert.throws(() => parseMount(text), (error: unknown) => {
      assert.ok(error instanceof Error && "code" in error);
      assert.equal(error.code, "invalid_option");
      assert.match(error.message, why);
      return true;
    });
  });
}
