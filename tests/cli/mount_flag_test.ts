import assert from "node:assert/strict";
import { parseMount } from "../../src/cli/mount_flag.ts";

for (
  const [text, host, guest, readOnly] of [
    ["type=bind,source=/a,target=/b", "/a", "/b", false],
    ["type=bind,src=./a:b,dst=/b,readonly", "./a:b", "/b", true],
    ["ro=1,destination=/b=c,source=/a,type=bind", "/a", "/b=c", true],
    ["type=bind,source=/a,target=/b,readonly=false", "/a", "/b", false],
  ] as const
) {
  Deno.test(`parseMount reads ${text}`, () => {
    assert.deepEqual(parseMount(text), { host, guest, readOnly });
  });
}

for (
  const [text, why] of [
    ["", /"" is not a part/],
    ["source=/a,target=/b", /its type is missing, not bind/],
    ["type=volume,source=a,target=/b", /its type is volume, not bind/],
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
