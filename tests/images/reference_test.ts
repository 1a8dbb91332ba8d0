import assert from "node:assert/strict";
import { HutchError } from "../../src/errors.ts";
import {
  formatReference,
  joinScheme,
  parseReference,
  splitScheme,
} from "../../src/images/reference.ts";

const HEX = "0123456789abcdef".repeat(4);
const DIGEST = `sha256:${HEX}`;

/** Reference, and its canonical spelling. */
const GOOD: readonly (readonly [string, string])[] = [
  ["debian", "docker.io/library/debian:latest"],
  ["debian:12", "docker.io/library/debian:12"],
  ["library/debian:12", "docker.io/library/debian:12"],
  ["docker.io/debian", "docker.io/library/debian:latest"],
  ["docker.io/library/debian", "docker.io/library/debian:latest"],
  ["index.docker.io/debian", "docker.io/library/debian:latest"],
  ["user/name", "docker.io/user/name:latest"],
  ["a/b/c/d", "docker.io/a/b/c/d:latest"],
  ["foo.bar/baz", "foo.bar/baz:latest"],
  ["foo_bar/baz", "docker.io/foo_bar/baz:latest"],
  ["localhost/x", "localhost/x:latest"],
  ["localhost:5000/x", "localhost:5000/x:latest"],
  ["localhost:5000", "docker.io/library/localhost:5000"],
  ["localhost", "docker.io/library/localhost:latest"],
  ["host:5000/x/y:tag", "host:5000/x/y:tag"],
  ["host:65535/x", "host:65535/x:latest"],
  ["127.0.0.1/x", "127.0.0.1/x:latest"],
  ["127.0.0.1:5000/x:1", "127.0.0.1:5000/x:1"],
  ["[::1]/x", "[::1]/x:latest"],
  ["[::1]:5000/x:1", "[::1]:5000/x:1"],
  ["[2001:db8::1]:5000/x", "[2001:db8::1]:5000/x:latest"],
  ["[2001:DB8:0:0:0:0:0:1]/x", "[2001:DB8:0:0:0:0:0:1]/x:latest"],
  ["Upper/lower", "Upper/lower:latest"],
  ["EXAMPLE.com/x", "EXAMPLE.com/x:latest"],
  ["a-b.c-d/x", "a-b.c-d/x:latest"],
  ["xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com/myimage:xn--n3h.com"],
  [
    "b.gcr.io/test.example.com/my-app:test.example.com",
    "b.gcr.io/test.example.com/my-app:test.example.com",
  ],
  ["a__b/c--d/e.f", "docker.io/a__b/c--d/e.f:latest"],
  ["a---------b", "docker.io/library/a---------b:latest"],
  ["x:UPPER_tag.1-2", "docker.io/library/x:UPPER_tag.1-2"],
  ["x:_", "docker.io/library/x:_"],
  [`x:${"t".repeat(128)}`, `docker.io/library/x:${"t".repeat(128)}`],
  [`${"a".repeat(247)}`, `docker.io/library/${"a".repeat(247)}:latest`],
  [`h.io/${"a/".repeat(127)}a`, `h.io/${"a/".repeat(127)}a:latest`],
  [`x@${DIGEST}`, `docker.io/library/x@${DIGEST}`],
  [`x:1@${DIGEST}`, `docker.io/library/x:1@${DIGEST}`],
  [`h:1/x:1@${DIGEST}`, `h:1/x:1@${DIGEST}`],
  [HEX.slice(1), `docker.io/library/${HEX.slice(1)}:latest`],
  [`h.io/${HEX}`, `h.io/${HEX}:latest`],
];

/** Reference, and what the error says of it. */
const BAD: readonly (readonly [string, RegExp])[] = [
  ["", /it is empty/],
  [":", /its tag is empty/],
  [":tag", /names no repository/],
  ["x:", /its tag is empty/],
  ["@", /digest/],
  [`@${DIGEST}`, /names no repository/],
  [HEX, /an image's id/],
  ["Debian", /upper-case/],
  ["h.io/Debian", /upper-case/],
  ["a//b", /repository part ""/],
  ["/a", /repository part ""/],
  ["a/", /repository part ""/],
  ["h.io/", /names no repository/],
  ["a..b/c", /host "a\.\.b"/],
  ["x/a..b", /repository part "a\.\.b"/],
  ["x/a___b", /repository part/],
  ["x/_a", /repository part/],
  ["x/a_", /repository part/],
  ["-a/x", /repository part "-a"/],
  ["x/a-.b", /repository part/],
  ["-h.io/x", /isn't a host/],
  ["h-.io/x", /isn't a host/],
  ["h..io/x", /isn't a host/],
  [".h.io/x", /isn't a host/],
  ["h_h.io/x", /isn't a host/],
  ["h:/x", /port ""/],
  ["h:port/x", /port "port"/],
  ["h:65536/x", /port "65536"/],
  ["h:123456/x", /port "123456"/],
  ["a:b:c/x", /port "b:c"/],
  ["::1/x", /isn't a host|port/],
  ["[::1/x", /isn't a host|colons|port/],
  ["[::1]x/y", /port/],
  ["[fe80::1%eth0]/x", /isn't a host/],
  ["[1.2.3.4]/x", /isn't a host/],
  ["[]:5000/x", /isn't a host/],
  ["[:::1]/x", /isn't a host/],
  ["x:-1", /tag "-1"/],
  ["x:.1", /tag "\.1"/],
  ["x:a b", /tag "a b"/],
  ["x:a/b:c", /port/],
  ["x:1:2", /tag "1:2"/],
  [`x:${"t".repeat(129)}`, /tag/],
  [`x@sha256:${HEX.slice(1)}`, /isn't sha256: and 64/],
  [`x@sha256:${HEX}0`, /isn't sha256: and 64/],
  [`x@sha256:${HEX.toUpperCase()}`, /lower-case/],
  [`x@SHA256:${HEX}`, /other than sha256/],
  [`x@sha512:${HEX}${HEX}`, /other than sha256/],
  [`x@sha256+b64:${HEX}`, /other than sha256/],
  [`x@${HEX}`, /isn't ALGORITHM:HEX/],
  ["x@sha256:../../etc/passwd", /isn't ALGORITHM:HEX/],
  [`x@${DIGEST}@${DIGEST}`, /isn't ALGORITHM:HEX/],
  [`${"a".repeat(248)}`, /longer than 255/],
  [`h.io/${"a/".repeat(128)}a`, /longer than 255/],
  [`${"h.".repeat(150)}io/x`, /longer than 255/],
  ["a".repeat(5000), /longer than 1024/],
  ["héllo", /repository part/],
  ["x\n", /repository part/],
  [" x", /repository part/],
  ["x:1\n", /tag/],
  ["x\0", /repository part/],
  ["https://h.io/x", /port/],
  ["../x", /isn't a host/],
  ["./x", /isn't a host/],
];

for (const [text, canonical] of GOOD) {
  Deno.test(`parseReference reads ${shown(text)}`, () => {
    const reference = parseReference(text);
    assert.equal(formatReference(reference), canonical);
    assert.deepEqual(parseReference(canonical), reference);
  });
}

for (const [text, problem] of BAD) {
  Deno.test(`parseReference refuses ${shown(text)}`, () => {
    assert.throws(() => parseReference(text), (error) => {
      assert.ok(error instanceof HutchError);
      assert.equal(error.code, "invalid_reference");
      assert.match(error.message, problem);
      assert.ok(error.message.length < 1500);
      return true;
    });
  });
}

Deno.test("parseReference takes a reference apart", () => {
  assert.deepEqual(parseReference(`h:1/a/b:t@${DIGEST}`), {
    registry: "h:1",
    repository: "a/b",
    tag: "t",
    digest: DIGEST,
  });
  assert.deepEqual(parseReference(`a@${DIGEST}`), {
    registry: "docker.io",
    repository: "library/a",
    digest: DIGEST,
  });
});

Deno.test("parseReference and formatReference are inverse for random references", () => {
  const random = generator(1);
  const pick = <T>(values: readonly T[]): T => {
    const value = values[Math.floor(random() * values.length)];
    if (value === undefined) throw new Error("nothing to pick from");
    return value;
  };
  const many = (most: number, make: () => string) =>
    Array.from({ length: 1 + Math.floor(random() * most) }, make);
  const word = () => many(8, () => pick([..."abcz019"])).join("");
  const component = () => many(3, word).join(pick([".", "_", "__", "-", "--"]));
  const label = () => pick([..."aZ09"]) + pick(["", "-", "xY"]) + pick([..."aZ09"]);
  const hosts = [
    () => "localhost",
    () => many(3, label).join(".") + ".io",
    () => `${label()}:${1 + Math.floor(random() * 65535)}`,
    () => `[::${Math.floor(random() * 0xffff).toString(16)}]:5000`,
    () => "docker.io",
  ];
  for (let round = 0; round < 5000; round++) {
    const digest = random() < 0.3;
    const text = pick([() => "", () => `${pick(hosts)()}/`])() + many(4, component).join("/") +
      (random() < 0.5
        ? `:${pick([..."aZ_9"])}${many(5, () => pick([..."aZ._-9"])).join("")}`
        : "") +
      (digest ? `@${DIGEST}` : "");
    const reference = parseReference(text);
    const canonical = formatReference(reference);
    assert.deepEqual(parseReference(canonical), reference, text);
    assert.equal(formatReference(parseReference(canonical)), canonical);
    const schemed = joinScheme({ scheme: "registry", rest: canonical });
    assert.deepEqual(splitScheme(schemed, (name) => name === "registry"), {
      scheme: "registry",
      rest: canonical,
    });
  }
});

/** Reference, its scheme, the rest. */
const SCHEMES: readonly (readonly [string, string, string])[] = [
  ["debian:12", "registry", "debian:12"],
  ["debian", "registry", "debian"],
  ["localhost:5000/x", "registry", "localhost:5000/x"],
  ["oci:folder", "oci", "folder"],
  ["oci:/a/b:tag", "oci", "/a/b:tag"],
  ["oci:latest", "oci", "latest"],
  ["builtin:busybox", "builtin", "busybox"],
  ["OCI:folder", "registry", "OCI:folder"],
  ["dir:folder", "registry", "dir:folder"],
  ["oci", "registry", "oci"],
  [":x", "registry", ":x"],
  ["", "registry", ""],
  ["registry", "registry", "registry"],
  ["registry:2", "registry", "registry:2"],
  [`registry:2@${DIGEST}`, "registry", `registry:2@${DIGEST}`],
  ["registry:5000/x", "registry", "registry:5000/x"],
  ["registry:5000/x:1", "registry", "registry:5000/x:1"],
  ["registry:debian:12", "registry", "debian:12"],
  ["registry:user/name", "registry", "user/name"],
  ["registry:docker.io/library/debian:12", "registry", "docker.io/library/debian:12"],
];

for (const [text, scheme, rest] of SCHEMES) {
  Deno.test(`splitScheme cuts ${shown(text)} into ${scheme} and ${shown(rest)}`, () => {
    const known = new Set(["registry", "oci", "builtin"]);
    assert.deepEqual(splitScheme(text, (name) => known.has(name)), { scheme, rest });
  });
}

Deno.test("splitScheme refuses a scheme with nothing behind it", () => {
  assert.throws(() => splitScheme("oci:", (name) => name === "oci"), {
    code: "invalid_reference",
  });
});

function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…(${text.length})` : text);
}

/** Numbers from 0 to 1, the same ones every time. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state / 2147483648;
  };
}
