import assert from "node:assert/strict";
import { HutchError } from "../../src/errors.ts";
import { parseConfig, requirePlatform } from "../../src/images/config.ts";
import {
  chooseManifest,
  type Descriptor,
  LAYER_COUNT_LIMIT,
  layerCompression,
  MANIFEST_LIMIT,
  parseManifest,
} from "../../src/images/manifest.ts";
import {
  formatPlatform,
  hostPlatform,
  parsePlatform,
  platformDistance,
} from "../../src/images/platform.ts";

const OCI = "application/vnd.oci.image.";
const DOCKER = "application/vnd.docker.";
const MANIFEST = `${OCI}manifest.v1+json`;
const INDEX = `${OCI}index.v1+json`;
const digest = (n: number) => `sha256:${n.toString(16).padStart(64, "0")}`;

function bytes(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
}

function image(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { mediaType: `${OCI}config.v1+json`, digest: digest(1), size: 10 },
    layers: [{ mediaType: `${OCI}layer.v1.tar+gzip`, digest: digest(2), size: 20 }],
    ...changes,
  };
}

function layer(changes: Record<string, unknown>): Record<string, unknown> {
  return image({
    layers: [{ mediaType: `${OCI}layer.v1.tar`, digest: digest(2), size: 20, ...changes }],
  });
}

function fails(run: () => unknown, problem: RegExp, code = "invalid_image"): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, problem);
    return true;
  });
}

Deno.test("parseManifest reads an OCI manifest", () => {
  assert.deepEqual(parseManifest(bytes(image()), "it", MANIFEST), {
    kind: "image",
    config: { mediaType: `${OCI}config.v1+json`, digest: digest(1), size: 10, annotations: {} },
    layers: [
      { mediaType: `${OCI}layer.v1.tar+gzip`, digest: digest(2), size: 20, annotations: {} },
    ],
  });
});

Deno.test("parseManifest reads a Docker schema 2 manifest, announced or not", () => {
  const docker = image({
    mediaType: `${DOCKER}distribution.manifest.v2+json`,
    config: {
      mediaType: `${DOCKER}container.image.v1+json`,
      digest: digest(1),
      size: 10,
    },
    layers: [{ mediaType: `${DOCKER}image.rootfs.diff.tar.gzip`, digest: digest(2), size: 20 }],
  });
  for (
    const announced of [undefined, "application/json", `${DOCKER}distribution.manifest.v2+json`]
  ) {
    assert.equal(parseManifest(bytes(docker), "it", announced).kind, "image");
  }
});

Deno.test("parseManifest reads indexes of both kinds, with and without a media type", () => {
  const manifests = [{ mediaType: MANIFEST, digest: digest(3), size: 30 }];
  const types = [undefined, INDEX, `${DOCKER}distribution.manifest.list.v2+json`];
  for (const mediaType of types) {
    const index = parseManifest(bytes({ schemaVersion: 2, mediaType, manifests }), "it");
    assert.equal(index.kind, "index");
  }
});

const BAD_MANIFESTS: readonly (readonly [string, unknown, RegExp, string?])[] = [
  ["no JSON", "{", /isn't JSON/],
  ["a list", [], /its top isn't an object/],
  ["null", "null", /its top isn't an object/],
  ["deep nesting", "[".repeat(1_000_000), /isn't JSON/],
  ["too much", " ".repeat(MANIFEST_LIMIT + 1), /larger than/],
  ["schema 1", { schemaVersion: 1 }, /schema 1/],
  ["an announced schema 1", "{}", /schema 1/, `${DOCKER}distribution.manifest.v1+prettyjws`],
  ["no schema version", { layers: [] }, /schemaVersion/],
  ["schema version text", image({ schemaVersion: "2" }), /schemaVersion/],
  ["another type than announced", image(), /announced as/, INDEX],
  ["a type its fields don't fit", image({ mediaType: INDEX }), /don't fit/],
  ["an unknown type", image({ mediaType: "application/vnd.x+json" }), /unknown/],
  ["index and image at once", image({ manifests: [] }), /both an index and an image/],
  ["no config", image({ config: undefined }), /config isn't an object/],
  [
    "an artifact's config",
    image({
      config: { mediaType: "application/vnd.cncf.helm.config.v1+json", digest: digest(1), size: 1 },
    }),
    /isn't a container image/,
  ],
  ["no layers", image({ layers: undefined }), /layers isn't a list/],
  ["layers that aren't a list", image({ layers: {} }), /layers isn't a list/],
  ["too many layers", image({ layers: Array(LAYER_COUNT_LIMIT + 1).fill({}) }), /more than 512/],
  ["a negative size", layer({ size: -1 }), /size isn't a whole number/],
  ["a broken size", layer({ size: 1.5 }), /size isn't a whole number/],
  ["a size as text", layer({ size: "1" }), /size isn't a whole number/],
  ["a size beyond all disks", layer({ size: 2 ** 41 }), /size isn't a whole number/],
  ["a digest with a path", layer({ digest: "sha256:../../../etc/passwd" }), /digest/],
  ["an upper-case digest", layer({ digest: digest(10).toUpperCase() }), /digest/],
  ["another algorithm", layer({ digest: `sha512:${"0".repeat(128)}` }), /other than sha256/],
  ["no digest", layer({ digest: undefined }), /digest isn't text/],
  ["an unknown layer", layer({ mediaType: "application/vnd.x.layer" }), /unknown/],
  ["an encrypted layer", layer({ mediaType: `${OCI}layer.v1.tar+gzip+encrypted` }), /unknown/],
  [
    "a foreign layer",
    layer({ mediaType: `${DOCKER}image.rootfs.foreign.diff.tar.gzip` }),
    /foreign/,
  ],
  ["a private layer", layer({ mediaType: `${OCI}layer.nondistributable.v1.tar+gzip` }), /foreign/],
  ["annotations that aren't text", layer({ annotations: { a: 1 } }), /annotations\.a isn't text/],
];

for (const [name, document, problem, announced] of BAD_MANIFESTS) {
  Deno.test(`parseManifest refuses ${name}`, () => {
    fails(() => parseManifest(bytes(document), "it", announced), problem);
  });
}

Deno.test("parseManifest refuses text that isn't UTF-8", () => {
  fails(() => parseManifest(new Uint8Array([0x7b, 0xff, 0x7d]), "it"), /isn't JSON/);
});

Deno.test("layerCompression knows each layer type", () => {
  assert.equal(layerCompression(`${OCI}layer.v1.tar`), "none");
  assert.equal(layerCompression(`${OCI}layer.v1.tar+gzip`), "gzip");
  assert.equal(layerCompression(`${OCI}layer.v1.tar+zstd`), "zstd");
  assert.equal(layerCompression(`${DOCKER}image.rootfs.diff.tar.gzip`), "gzip");
  assert.equal(layerCompression("text/plain"), undefined);
});

function entry(n: number, platform?: string, mediaType = MANIFEST): Descriptor {
  return {
    mediaType,
    digest: digest(n),
    size: 1,
    annotations: {},
    ...(platform === undefined ? {} : { platform: parsePlatform(platform) }),
  };
}

const CHOICES: readonly (readonly [string, string, readonly Descriptor[], number])[] = [
  ["the same platform", "linux/amd64", [entry(1, "linux/arm64"), entry(2, "linux/amd64")], 2],
  ["the first of equals", "linux/amd64", [entry(1, "linux/amd64"), entry(2, "linux/amd64")], 1],
  ["v8 for arm64 without a variant", "linux/arm64/v8", [entry(1, "linux/arm64")], 1],
  ["no variant where v8 is said", "linux/arm64", [entry(1, "linux/arm64/v8")], 1],
  [
    "the highest variant that runs",
    "linux/arm/v7",
    [entry(1, "linux/arm/v5"), entry(2, "linux/arm/v6"), entry(3, "linux/arm/v8")],
    2,
  ],
  [
    "the least demanding level of amd64",
    "linux/amd64",
    [entry(1, "linux/amd64/v3"), entry(2, "linux/amd64/v2")],
    2,
  ],
  ["a single image without a platform", "linux/amd64", [entry(1)], 1],
  [
    "an image beside attestations",
    "linux/amd64",
    [entry(1, "unknown/unknown"), entry(2, "linux/amd64")],
    2,
  ],
  ["a nested index", "linux/amd64", [entry(1, "linux/arm64"), entry(2, undefined, INDEX)], 2],
  ["past what isn't an image", "linux/amd64", [entry(1, "linux/amd64", "text/plain"), entry(2)], 2],
];

for (const [name, platform, manifests, expected] of CHOICES) {
  Deno.test(`chooseManifest takes ${name}`, () => {
    const chosen = chooseManifest(manifests, parsePlatform(platform), "it");
    assert.equal(chosen.digest, digest(expected));
  });
}

Deno.test("chooseManifest says what there is when nothing fits", () => {
  const manifests = [
    entry(1, "linux/s390x"),
    entry(2, "windows/amd64"),
    entry(3, "unknown/unknown"),
  ];
  const run = () => chooseManifest(manifests, parsePlatform("linux/amd64"), "it");
  fails(run, /linux\/amd64, only linux\/s390x, windows\/amd64$/, "platform_unsupported");
  const none = () => chooseManifest([], parsePlatform("linux/amd64"), "it");
  fails(none, /no images at all/, "platform_unsupported");
  const newer = () =>
    chooseManifest([entry(1, "linux/arm64/v9")], parsePlatform("linux/arm64/v8"), "it");
  fails(newer, /linux\/arm64\/v9/, "platform_unsupported");
});

Deno.test("hostPlatform names processors as images do", () => {
  assert.equal(formatPlatform(hostPlatform("x86_64")), "linux/amd64");
  assert.equal(formatPlatform(hostPlatform("aarch64")), "linux/arm64/v8");
  assert.equal(platformDistance(hostPlatform("riscv64"), parsePlatform("linux/riscv64")), 0);
});

Deno.test("parsePlatform refuses what isn't a platform", () => {
  for (const text of ["", "linux", "linux/", "/amd64", "linux/amd64/v1/x", "linux/am d64"]) {
    fails(() => parsePlatform(text), /Cannot read platform/, "invalid_option");
  }
});

function config(changes: Record<string, unknown> = {}, inner?: unknown): Uint8Array<ArrayBuffer> {
  return bytes({
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: [digest(5)] },
    config: inner,
    ...changes,
  });
}

Deno.test("parseConfig reads everything that commands get", () => {
  const document = parseConfig(
    config({ variant: "v2" }, {
      Env: ["PATH=/bin", "A=1=2", "A=3", "BARE", "=nameless", "__proto__=x"],
      Entrypoint: ["/init"],
      Cmd: ["a", "b"],
      WorkingDir: "/srv",
      User: "1000:1000",
      Labels: { l: "v" },
      ExposedPorts: { "80/tcp": {} },
      Volumes: { "/data": {} },
      StopSignal: "SIGINT",
    }),
    "it",
    1,
  );
  assert.deepEqual(document.platform, { os: "linux", architecture: "amd64", variant: "v2" });
  assert.deepEqual(document.diffIds, [digest(5)]);
  const { env, ...rest } = document.config;
  assert.deepEqual(Object.entries(env), [
    ["PATH", "/bin"],
    ["A", "3"],
    ["BARE", ""],
    ["__proto__", "x"],
  ]);
  assert.deepEqual(rest, {
    entrypoint: ["/init"],
    cmd: ["a", "b"],
    workingDir: "/srv",
    user: "1000:1000",
    labels: { l: "v" },
    exposedPorts: ["80/tcp"],
    volumes: ["/data"],
    stopSignal: "SIGINT",
  });
});

Deno.test("parseConfig fills in what is missing or null", () => {
  const empty = {
    env: {},
    entrypoint: [],
    cmd: [],
    workingDir: "/",
    user: "",
    labels: {},
    exposedPorts: [],
    volumes: [],
    stopSignal: "",
  };
  const nulls = { Env: null, Entrypoint: null, Cmd: null, Labels: null, Volumes: null, User: null };
  for (const inner of [undefined, null, {}, nulls]) {
    assert.deepEqual(parseConfig(config({}, inner), "it", 1).config, empty);
  }
  assert.equal(parseConfig(config({ os: undefined }), "it", 1).platform.os, "linux");
  assert.equal(parseConfig(config({}, { WorkingDir: "srv" }), "it", 1).config.workingDir, "/srv");
});

const BAD_CONFIGS: readonly (readonly [string, Uint8Array<ArrayBuffer>, RegExp])[] = [
  [
    "another count of layers",
    config({ rootfs: { type: "layers", diff_ids: [] } }),
    /lists 0 layers/,
  ],
  ["no rootfs", config({ rootfs: undefined }), /rootfs isn't an object/],
  ["an unknown rootfs", config({ rootfs: { type: "x", diff_ids: [digest(1)] } }), /rootfs\.type/],
  ["a bad diff ID", config({ rootfs: { type: "layers", diff_ids: ["x"] } }), /diff_ids\[0\]/],
  ["no architecture", config({ architecture: undefined }), /architecture isn't text/],
  ["a config list", config({}, []), /config isn't an object/],
  ["Env as an object", config({}, { Env: {} }), /config\.Env isn't a list/],
  ["a number in Cmd", config({}, { Cmd: ["a", 1] }), /config\.Cmd\[1\] isn't text/],
  ["Cmd as text", config({}, { Cmd: "sh" }), /config\.Cmd isn't a list/],
  ["a NUL in Env", config({}, { Env: ["A=\0"] }), /NUL/],
  ["a NUL in WorkingDir", config({}, { WorkingDir: "/\0" }), /NUL/],
  ["endless Env", config({}, { Env: Array(10_001).fill("A=1") }), /more than 10000/],
];

for (const [name, document, problem] of BAD_CONFIGS) {
  Deno.test(`parseConfig refuses ${name}`, () => {
    fails(() => parseConfig(document, "it", 1), problem);
  });
}

Deno.test("requirePlatform refuses an image for another processor", () => {
  const arm = parsePlatform("linux/arm64/v8");
  const amd = parsePlatform("linux/amd64");
  requirePlatform(amd, amd, "it");
  fails(
    () => requirePlatform(arm, amd, "it"),
    /it is for linux\/arm64\/v8/,
    "platform_unsupported",
  );
});
