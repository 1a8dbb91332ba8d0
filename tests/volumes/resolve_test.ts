import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { BoxConfig, VolumeAnswer, VolumeSpec } from "../../mod.ts";
import { checkOptions, makeConfig } from "../../src/box/config.ts";
import { checkGuestPath, checkVolumes, resolveVolumes } from "../../src/volumes/resolve.ts";
import { TempFolder } from "../support/temp.ts";

const CHECK_VOLUME = fileURLToPath(new URL("./check_volume.ts", import.meta.url));

function boxWith(volumes: readonly VolumeSpec[]): BoxConfig {
  const image = { reference: "builtin:busybox", digest: `sha256:${"0".repeat(64)}` };
  return makeConfig(checkOptions({ image: "builtin:busybox", volumes }), image, {
    env: {},
    workingDir: "/",
    user: "",
    entrypoint: [],
    cmd: [],
    labels: {},
    exposedPorts: [],
    volumes: [],
    stopSignal: "",
  });
}

/** Reads `HOST>GUEST`, and says what it was asked. */
function asker(asked: unknown[] = []) {
  return ({ spec, start }: { spec: VolumeSpec; start: unknown }) => {
    asked.push(start);
    const [hostPath = "", guestPath = ""] = String(spec).split(">");
    const known: VolumeAnswer = { hostPath, guestPath, readOnly: hostPath.endsWith("ro") };
    return Promise.resolve(String(spec).includes(">") ? known : undefined);
  };
}

const refused = (why: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Error && "code" in error);
  assert.equal(error.code, "invalid_option");
  assert.match(error.message, /^Cannot use volume "/);
  assert.match(error.message, why);
  return true;
};

Deno.test("resolveVolumes finds volumes with their owners, parents first, tags in the order asked", async () => {
  await using home = new TempFolder();
  const [folder, file] = [join(home.path, "ro"), join(home.path, "file")];
  await Deno.mkdir(folder);
  await Deno.writeTextFile(file, "");
  await Deno.symlink(folder, join(home.path, "link"));
  const asked: unknown[] = [];
  const box = boxWith([`${file}>/a/b/c`, `${home.path}/link>//a/./b/`, `${folder}>/z`]);
  const own = join(home.path, "box");
  const volumes = await resolveVolumes(box, { folder: own, ask: asker(asked) });
  const { uid, gid } = await Deno.stat(folder);
  const same = uid === 0 && gid === 0;
  const owner = {
    ...{ kind: "share", noexec: false, uid: uid ?? 0, gid: gid ?? 0 },
    owner: same ? null : { uid: 0, gid: 0, required: false },
  };
  const real = await Deno.realPath(home.path);
  assert.deepEqual(volumes, [
    { tag: "uservol2", hostPath: join(real, "ro"), guestPath: "/z", readOnly: true, ...owner },
    { tag: "uservol1", hostPath: join(real, "ro"), guestPath: "/a/b", readOnly: false, ...owner },
    {
      tag: "uservol0",
      hostPath: join(real, "file"),
      guestPath: "/a/b/c",
      readOnly: false,
      ...owner,
    },
  ]);
  assert.deepEqual(asked, [0, 1, 2].map((n) => ({ box, folder: `${own}/volumes/uservol${n}` })));
});

Deno.test("checkVolumes gives what is recorded, and asks plugins to make nothing", async () => {
  await using home = new TempFolder();
  const asked: unknown[] = [];
  const answers: VolumeAnswer[] = [
    { hostPath: home.path, guestPath: "/a", spec: { host: home.path, guest: "/a" } },
    { guestPath: "/b" }, // made at the start
  ];
  const recorded = await checkVolumes(["./:/a", "git:x:/b"], ({ start }) => {
    asked.push(start);
    return Promise.resolve(answers.shift());
  });
  assert.deepEqual(recorded, [{ host: home.path, guest: "/a" }, "git:x:/b"]);
  assert.deepEqual(asked, [undefined, undefined]);
});

Deno.test("resolveVolumes refuses a plugin that made nothing at the start", async () => {
  const ask = () => Promise.resolve({ guestPath: "/a" });
  await assert.rejects(
    resolveVolumes(boxWith(["git:x:/a"]), { folder: "/", ask }),
    refused(/its plugin made nothing/),
  );
});

const bad: readonly (readonly [string, readonly string[], RegExp])[] = [
  ["a kind that no plugin knows", ["name:/data"], /no plugin knows this kind/],
  ["a host path that isn't there", ["/nowhere/at/all>/data"], /\/nowhere\/at\/all is not there/],
  ["a device", ["/dev/null>/data"], /neither a folder nor a file/],
  ["a path in the box twice", ["/tmp>/data", "/usr>//data/."], /another volume is at \/data$/],
  ["a relative path in the box", ["/tmp>data"], /"data", has no "\/" first/],
  ["the box's root", ["/tmp>/"], /can't be at \//],
  ["more than 64", Array.from({ length: 65 }, (_, n) => `/tmp>/${n}`), /"\/tmp>\/64".*64 volumes/],
];

for (const [name, specs, why] of bad) {
  Deno.test(`checkVolumes and resolveVolumes refuse ${name}`, async () => {
    await assert.rejects(checkVolumes(specs, asker()), refused(why));
    const resolving = { folder: "/nowhere", ask: asker() };
    await assert.rejects(resolveVolumes(boxWith(specs), resolving), refused(why));
  });
}

for (
  const [path, clean] of [
    ["/a", "/a"],
    ["//a//b/", "/a/b"],
    ["/./a/.", "/a"],
    ["/..a/b..", "/..a/b.."],
    [`/${"x".repeat(1022)}`, `/${"x".repeat(1022)}`],
  ] as const
) {
  Deno.test(`checkGuestPath cleans ${path.slice(0, 20)}`, () => {
    assert.equal(checkGuestPath(path, "x"), clean);
  });
}

for (
  const path of [
    "",
    "a",
    "./a",
    "/",
    "//",
    "/.",
    "/..",
    "/a/../b",
    "/a/..",
    "/a\0b",
    `/${"é".repeat(512)}`,
  ]
) {
  Deno.test(`checkGuestPath refuses ${JSON.stringify(path.slice(0, 20))}`, () => {
    assert.throws(() => checkGuestPath(path, "x"), refused(/path|root|at \//));
  });
}

Deno.test("checkVolumes refuses a folder that can't be read", async () => {
  await using home = new TempFolder();
  await Deno.chmod(home.path, 0o300);
  const [program = "", ...args] = [
    // Root reads everything, unless it gives that up.
    ...Deno.uid() === 0 ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] : [],
    ...[Deno.execPath(), "run", "-A", "--quiet", "--no-check", CHECK_VOLUME, home.path],
  ];
  const { stdout, stderr } = await new Deno.Command(program, { args }).output();
  const said = new TextDecoder().decode(stdout);
  assert.match(said, /can't be read: .*denied/, new TextDecoder().decode(stderr));
});
