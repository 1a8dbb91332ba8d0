/**
 * Makes a release: the archive `hutch-VERSION.tar.gz` with the modules, the C sources and this machine's
 * prebuilt native parts, its bill of materials, and the checksums of both. The same tree gives the
 * same bytes where the compiler does.
 *
 *   deno task release [FOLDER]     `release` by default; it must not have this version yet
 *
 * @module
 */
import { createHash } from "node:crypto";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { PART_NAMES, PARTS } from "../../ffi/parts.ts";
import { VERSION } from "../../src/version.ts";
import { billOf, fileComponent, nativeComponents, npmComponents } from "./sbom.ts";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** What a release has of the tree. */
const CONTENT = [
  ...["mod.ts", "compile.ts", "deno.json", "deno.lock", "README.md"],
  ...["src", "plugins", "ffi"],
];
const EMPTY_TABLE = "> = {};\n";

/**
 * Makes one.
 *
 * @param folder Where its three files go.
 * @throws Error when a file is there already, or a native part isn't built.
 */
export async function makeRelease(folder: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const work = await Deno.makeTempDir({ prefix: "hutch-release-" });
  try {
    const name = `hutch-${VERSION}`;
    const tree = join(work, name);
    await Deno.mkdir(tree);
    await run("cp", ["-R", ...CONTENT.map((each) => join(ROOT, each)), tree]);
    const parts = await addPrebuilt(tree);
    const archive = join(work, `${name}.tar.gz`);
    await run("tar", [
      ...["--create", "--file", archive, "--use-compress-program", "gzip -n -9"],
      ...["--directory", work, "--format", "ustar", "--sort", "name", "--mtime", "@0"],
      ...["--owner", "0", "--group", "0", "--numeric-owner", "--mode", "u+rwX,go=rX", name],
    ]);
    const lock = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.lock")));
    const deps = await Deno.readTextFile(join(ROOT, "src/deps.ts"));
    const bill = billOf(VERSION, [
      ...npmComponents(deps, lock),
      ...await nativeComponents(),
      ...parts.map(({ path, bytes }) => fileComponent(path, bytes)),
    ]);
    const billPath = join(work, `${name}.cdx.json`);
    await Deno.writeTextFile(billPath, `${JSON.stringify(bill, undefined, 2)}\n`);
    const sums = join(work, `${name}.sha256`);
    const lines = [archive, billPath].map((path) =>
      `${sha256(Deno.readFileSync(path))}  ${basename(path)}\n`
    );
    await Deno.writeTextFile(sums, lines.join(""));
    for (const path of [archive, billPath, sums]) await publish(path, folder);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** Puts the native parts where programs that import from a URL look for them, and their digests. */
async function addPrebuilt(tree: string): Promise<{ path: string; bytes: Uint8Array }[]> {
  const target = Deno.build.target;
  const added = [];
  const table: Record<string, string> = {};
  for (const name of PART_NAMES) {
    const { file } = PARTS[name];
    const bytes = await Deno.readFile(join(ROOT, "build", file)).catch((error: Error) => {
      throw new Error(`Cannot make a release: ${error.message} (deno task build)`);
    });
    const path = `prebuilt/${target}/${file}`;
    await Deno.mkdir(dirname(join(tree, path)), { recursive: true });
    await Deno.writeFile(join(tree, path), bytes, { mode: 0o755 });
    added.push({ path, bytes });
    table[name] = sha256(bytes);
  }
  const parts = join(tree, "ffi/parts.ts");
  const text = await Deno.readTextFile(parts);
  if (!text.endsWith(EMPTY_TABLE)) throw new Error("Cannot make a release: PREBUILT isn't empty");
  const filled = JSON.stringify({ [target]: table }, undefined, 2);
  await Deno.writeTextFile(parts, `${text.slice(0, -EMPTY_TABLE.length)}> = ${filled};\n`);
  return added;
}

async function publish(path: string, folder: string): Promise<void> {
  const target = join(folder, basename(path));
  using made = await Deno.open(target, { write: true, createNew: true }); // never another's
  await (await Deno.open(path)).readable.pipeTo(made.writable, { preventClose: true });
  console.log(target);
}

async function run(program: string, args: readonly string[]): Promise<void> {
  const { success } = await new Deno.Command(program, { args: [...args] }).spawn().status;
  if (!success) throw new Error(`Cannot make a release: ${program} failed`);
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

if (import.meta.main) await makeRelease(resolve(Deno.args[0] ?? "release"));
