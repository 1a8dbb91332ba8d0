/**
 * A release's bill of materials, in CycloneDX's JSON.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { systemCompiler } from "../../ffi/build.ts";
import { PARTS } from "../../ffi/parts.ts";
import { libraryVersion } from "../../src/vmm/find.ts";

/** A component of the bill. */
export interface Component {
  readonly type: "library" | "file";
  readonly name: string;
  readonly version?: string;
  readonly purl?: string;
  readonly description?: string;
  readonly hashes?: readonly { readonly alg: "SHA-256" | "SHA-512"; readonly content: string }[];
}

/** The bill, as far as it is read here. */
export interface Bill {
  readonly bomFormat: "CycloneDX";
  readonly specVersion: "1.5";
  readonly version: 1;
  readonly metadata: {
    readonly component: {
      readonly type: "application";
      readonly name: "hutch";
      readonly version: string;
    };
  };
  readonly components: readonly Component[];
}

interface LockFile {
  readonly specifiers: Readonly<Record<string, string>>;
  readonly npm: Readonly<
    Record<string, { readonly integrity: string; readonly dependencies?: readonly string[] }>
  >;
}

/**
 * The npm packages that modules need, with all that those need.
 *
 * @param deps Text of the modules that import from outside.
 * @throws Error for one that the lock file doesn't have.
 */
export function npmComponents(deps: string, lock: LockFile): Component[] {
  const names = [...deps.matchAll(/"npm:((?:@[^/"@]+\/)?[^/"@]+)@/g)].map(([, name = ""]) => name);
  const found = new Map<string, Component>();
  const keyOf = (name: string) => {
    // `name`, or `name@version` where several versions are there.
    const key = Object.keys(lock.npm).find((each) => each === name || each.startsWith(`${name}@`));
    if (key === undefined) throw new Error(`Cannot list ${name}: the lock file doesn't have it`);
    return key;
  };
  const add = (key: string) => {
    if (found.has(key)) return;
    const at = key.lastIndexOf("@");
    const [name, version] = [key.slice(0, at), (key.slice(at + 1).split("_")[0]) ?? ""];
    const { integrity = "", dependencies = [] } = lock.npm[key] ?? {};
    const content = Array.from(
      atob(integrity.replace("sha512-", "")),
      (character) => character.charCodeAt(0).toString(16).padStart(2, "0"),
    ).join("");
    const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
    found.set(key, {
      ...{ type: "library", name, version, purl },
      hashes: [{ alg: "SHA-512", content }],
    });
    for (const dependency of dependencies) add(keyOf(dependency));
  };
  for (const name of names) add(keyOf(name));
  return [...found.values()].sort(byName);
}

/** The system's libraries that the native parts are linked with, and their versions here. */
export async function nativeComponents(): Promise<Component[]> {
  const users = new Map<string, string[]>();
  for (const { file, libraries } of Object.values(PARTS)) {
    for (const flag of libraries) {
      const name = /^-l(\w+)$/.exec(flag)?.[1];
      if (name !== undefined) users.set(name, [...users.get(name) ?? [], file]);
      if (flag === "-static") users.set("c", [...users.get("c") ?? [], `${file} (statically)`]);
    }
  }
  const components = [...users].map(async ([name, files]): Promise<Component> => {
    const version = name === "c"
      ? /\d+(\.\d+)+/.exec(await outputOf("getconf", "GNU_LIBC_VERSION"))?.[0]
      : await libraryVersion(await outputOf(systemCompiler(), `-print-file-name=lib${name}.so`));
    return {
      ...{ type: "library", name: `lib${name}` },
      ...version ? { version } : {},
      description: `linked with ${files.join(", ")}`,
    };
  });
  return (await Promise.all(components)).sort(byName);
}

async function outputOf(program: string, argument: string): Promise<string> {
  const { stdout } = await new Deno.Command(program, { args: [argument] }).output();
  return new TextDecoder().decode(stdout).trim();
}

/** A file of the release. */
export function fileComponent(name: string, bytes: Uint8Array): Component {
  const content = createHash("sha256").update(bytes).digest("hex");
  return { type: "file", name, hashes: [{ alg: "SHA-256", content }] };
}

/** The whole bill. */
export function billOf(version: string, components: readonly Component[]): Bill {
  return {
    ...{ bomFormat: "CycloneDX", specVersion: "1.5", version: 1 },
    metadata: { component: { type: "application", name: "hutch", version } },
    components,
  };
}

function byName(a: Component, b: Component): number {
  return a.name < b.name ? -1 : 1;
}
