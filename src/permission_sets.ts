/**
 * Which of Deno's permissions hutch needs, and for what.
 *
 * @module
 */
import { helperPath } from "../ffi/library.ts";
import { requirePermissions } from "./permissions.ts";
import type { Paths } from "./runtime/paths.ts";

/** Variables that hutch looks at whenever a home is opened. */
const OPEN_VARIABLES = ["HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "HUTCH_HELPER"];
/** Those that starting a box takes; Deno's own start of processes asks for the last. */
const START_VARIABLES = [
  ...[
    "HUTCH_AGENT",
    "HUTCH_BOX_LIBRARY",
    "HUTCH_SHARE",
    "HUTCH_NET",
    "HUTCH_LIBKRUN",
    "HUTCH_LIBKRUNFW",
  ],
  ...["HUTCH_QEMU", "HUTCH_VIRTIOFSD"],
  ...["PATH", "DENO_DIR", "NODE_V8_COVERAGE"],
];

/**
 * What opening a home takes.
 *
 * @param home What the program named; else the environment says it.
 * @throws HutchError `permission_missing`.
 */
export function requireToOpen(home: string | undefined, pathsOf: () => Paths): void {
  const what = "open a runtime";
  const variables = home === undefined ? [...OPEN_VARIABLES, "HUTCH_HOME"] : OPEN_VARIABLES;
  requirePermissions(what, [
    ...variables.map((variable) => ({ name: "env", variable }) as const),
    { name: "sys", kind: "uid" },
  ]);
  const paths = pathsOf();
  requirePermissions(
    what,
    [paths.home, paths.sockets].flatMap((path) =>
      [{ name: "read", path }, { name: "write", path }] as const
    ),
  );
}

/**
 * What starting a box takes, on any engine.
 *
 * @param socketPath Where its process will serve.
 * @throws HutchError `permission_missing`.
 */
export function requireToStart(name: string, socketPath: string): void {
  requirePermissions(`start box "${name}"`, [
    ...START_VARIABLES.map((variable) => ({ name: "env", variable }) as const),
    { name: "ffi", path: helperPath() },
    { name: "run", command: Deno.execPath() },
    { name: "net", host: `unix:${socketPath}` },
  ]);
}
