import assert from "node:assert/strict";
import { HutchError } from "../../src/errors.ts";
import { parseReference } from "../../src/images/reference.ts";
import { registryName, splitMirror } from "../../src/images/registry/registries.ts";
import { fc } from "../deps.ts";

const NAMES: readonly (readonly [string, string])[] = [
  ["docker.io", "docker.io"],
  ["index.docker.io", "docker.io"],
  ["https://index.docker.io/v1/", "docker.io"],
  ["registry-1.docker.io", "docker.io"],
  ["ghcr.io", "ghcr.io"],
  ["GHCR.io/", "ghcr.io"],
  ["https://ghcr.io/v2/", "ghcr.io"],
  ["http://localhost:5000", "localhost:5000"],
  ["localhost", "localhost"],
  ["127.0.0.1:5000", "127.0.0.1:5000"],
  ["[::1]:5000", "[::1]:5000"],
];

for (const [text, name] of NAMES) {
  Deno.test(`registryName finds ${name} in ${text}`, () => {
    assert.equal(registryName(text), name);
  });
}

const REFUSED: readonly (readonly [string, RegExp])[] = [
  ["", /without a name$/],
  ["/v2/", /without a name$/],
  ["myregistry", /isn't a host name with a dot or a port$/],
  ["ghcr.io/owner", /it has a path/],
  ["https://ghcr.io/v3/", /it has a path/],
  ["ftp://ghcr.io", /it has a path/],
  ["me@ghcr.io", /has an @/],
  ["https://me:secret@ghcr.io", /^(?!.*secret).*has an @/],
  ["ghcr.io:port", /port/],
  ["ghcr.io:70000", /port/],
  ["-.io", /host/],
  ["a b.io", /host/],
  ["a.io\n", /host/],
];

for (const [text, problem] of REFUSED) {
  Deno.test(`registryName refuses ${JSON.stringify(text)}`, () => {
    assert.throws(() => registryName(text), { code: "invalid_option", message: problem });
  });
}

Deno.test("registryName gives names that references have, or refuses, for any text", () => {
  const hostile = fc.stringMatching(/^[a-cA-C.:/@[\]0-9 -]{0,30}$/);
  fc.assert(fc.property(fc.oneof(hostile, fc.string()), (text) => {
    let name: string;
    try {
      name = registryName(text);
    } catch (error) {
      assert.ok(error instanceof HutchError);
      return;
    }
    assert.equal(parseReference(`${name}/x`).registry, name);
    assert.equal(registryName(name), name);
  }));
});

Deno.test("splitMirror takes a registry and a path below it", () => {
  assert.deepEqual(splitMirror("m.test"), { registry: "m.test", path: "" });
  assert.deepEqual(splitMirror("m.test:5000/a/b-c/"), { registry: "m.test:5000", path: "a/b-c" });
  for (
    const text of ["", "m", "m.test/../x", "m.test/A", "m.test//x", "m.test/a:1", "m.test/a?b"]
  ) {
    assert.throws(() => splitMirror(text), { code: "invalid_option" }, text);
  }
});
